//! What the joiner and the command tell the parent: nothing when all went well, else one fixed-size message through
//! a pipe that closes at execve.

use std::ffi::c_int;

use super::sys;

/// Where the report pipe goes: right behind the stdio.
pub(crate) const REPORT: c_int = 3;

/// Descriptor of the pipe by which the parent tells the command that it has been moved, if the command waits for that.
pub(crate) const GO: c_int = 4;

/// A step of joining the container, in about the order they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    InitialAffinity = 1,
    JoinCgroup,
    OomScoreAdj,
    KeyLabel,
    ExecLabel,
    AppArmor,
    NotDumpable,
    JoinNamespaces,
    FinalAffinity,
    Terminal,
    Stdio,
    CloseFiles,
    Rlimit,
    JoinUserNamespace,
    BecomeRoot,
    Signals,
    Keyring,
    NoNewPrivileges,
    Scheduler,
    IoPriority,
    Personality,
    Inherited,
    Seccomp,
    Chdir,
    BoundingSet,
    KeepCapabilities,
    ChownStdio,
    SetGroups,
    SetGid,
    SetUid,
    Capabilities,
    Memory,
    ForkInside,
    Session,
    ControllingTerminal,
    WorkingDirectory,
    NotFound,
    Relative,
    Stat,
    Exec,
    /// No failure: the command's process is there, its pid in place of the errno.
    Made,
}

impl Step {
    const LAST: u32 = Step::Made as u32;

    /// The step in words, for a message that ends in the reason.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Step::InitialAffinity | Step::FinalAffinity => "setting CPU affinity",
            Step::JoinCgroup => "joining cgroup",
            Step::OomScoreAdj => "setting oom_score_adj",
            Step::NotDumpable => "becoming non-dumpable",
            Step::JoinNamespaces => "joining the container's namespaces",
            Step::ForkInside => "making a process in the container",
            Step::Rlimit => "setting rlimit",
            Step::Terminal => "opening a terminal",
            Step::ControllingTerminal => "setctty",
            Step::JoinUserNamespace => "joining the container's user namespace",
            Step::BecomeRoot => "becoming root of the user namespace",
            Step::Signals => "resetting signals",
            Step::Session => "setsid",
            Step::Stdio => "setting up stdio",
            Step::KeyLabel => "setting keyring label",
            Step::Keyring => "unable to join session keyring",
            Step::NoNewPrivileges => "setting no_new_privs",
            Step::Scheduler => "setting scheduler",
            Step::IoPriority => "setting I/O priority",
            Step::Personality => "setting personality",
            Step::ExecLabel => "setting SELinux label",
            Step::AppArmor => "unable to apply apparmor profile",
            Step::Inherited => "restoring inherited settings",
            Step::CloseFiles => "closing inherited files",
            Step::Seccomp => "unable to init seccomp",
            Step::Chdir => "chdir",
            Step::BoundingSet => "unable to apply bounding set",
            Step::KeepCapabilities => "unable to set keep caps",
            Step::ChownStdio => "unable to change the owner of stdio",
            Step::SetGroups => "unable to set groups",
            Step::SetGid => "unable to set gid",
            Step::SetUid => "unable to set uid",
            Step::Capabilities => "unable to apply caps",
            Step::Memory => "unmapping the shim's memory",
            Step::WorkingDirectory => "getting the working directory",
            Step::NotFound | Step::Relative | Step::Stat | Step::Exec => "exec",
            Step::Made => "made",
        }
    }

    fn from_raw(raw: u32) -> Option<Self> {
        // SAFETY: `Step` is repr(u32), its values are exactly 1 to LAST.
        (1..=Self::LAST)
            .contains(&raw)
            .then(|| unsafe { std::mem::transmute::<u32, Step>(raw) })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub step: Step,
    pub errno: i32,
    /// Which of several it was: the hierarchy's place, the limit's resource.
    pub which: u32,
}

impl Failure {
    pub const SIZE: usize = 12;

    /// None at all: the command's process has been made.
    pub fn made(pid: libc::pid_t) -> Self {
        Self {
            step: Step::Made,
            errno: pid,
            which: 0,
        }
    }

    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let [a, b, c, d] = (self.step as u32).to_ne_bytes();
        let [e, f, g, h] = self.errno.to_ne_bytes();
        let [i, j, k, l] = self.which.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<4>();
        let [step, errno, which] = words else {
            return None;
        };
        rest.is_empty().then_some(())?;
        Some(Self {
            step: Step::from_raw(u32::from_ne_bytes(*step))?,
            errno: i32::from_ne_bytes(*errno),
            which: u32::from_ne_bytes(*which),
        })
    }
}

/// Writes the failure and ends the process.
pub(crate) fn fail(report: c_int, failure: Failure) -> ! {
    tell(report, failure);
    sys::exit(255)
}

/// Writes one message. An error is ignored: the parent does not read any more then.
pub(crate) fn tell(report: c_int, message: Failure) {
    let _ = sys::write(report, &message.to_bytes());
}

/// Names the step of a failed system call.
pub(crate) fn at<T>(step: Step, result: sys::Result<T>) -> Result<T, Failure> {
    at_nth(step, 0, result)
}

/// The same for one of several.
pub(crate) fn at_nth<T>(step: Step, which: usize, result: sys::Result<T>) -> Result<T, Failure> {
    match result {
        Ok(value) => Ok(value),
        Err(errno) => Err(Failure {
            step,
            errno,
            which: which as u32,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_pipe_and_nonsense_is_refused() {
        for raw in 1..=Step::LAST {
            let step = Step::from_raw(raw).unwrap();
            let failure = Failure {
                step,
                errno: -1,
                which: 7,
            };
            assert_eq!(Failure::from_bytes(&failure.to_bytes()), Some(failure));
        }
        assert_eq!(Failure::from_bytes(&[0; 12]), None);
        assert_eq!(Failure::from_bytes(&[255; 12]), None);
        assert_eq!(Failure::from_bytes(&[1, 0, 0, 0]), None);
    }
}
