//! What the holder's process does between its fork and its program: system calls alone, on what the plan has made ready.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_char, c_int, c_long};
use podhook_hooks::linux::limit::{Asked, NAMESPACES};

/// What is made ready before the fork.
pub struct Plan {
    /// Files of cgroups that a process joins by writing `0`.
    pub cgroups: Vec<RawFd>,
    /// The namespace of the pod's users, to be joined.
    pub users: Option<RawFd>,
    /// A new one is made instead; who has forked writes its mappings, and then a byte into this pipe.
    pub mapped: Option<RawFd>,
    pub network: Option<RawFd>,
    /// `CLONE_NEW…` of the namespaces that are new.
    pub new: c_int,
    /// The pod's PID namespace is this process's: it is its first process.
    pub first: bool,
    pub hostname: Option<CString>,
    /// Files of `/proc/sys`, and what is written there.
    pub sysctls: Vec<(CString, CString)>,
    /// The label of SELinux for the program.
    pub label: Option<CString>,
    /// Its profile of AppArmor, as the kernel is told it.
    pub profile: Option<CString>,
    pub uid: u32,
    pub gid: u32,
    /// The program, above 3.
    pub program: RawFd,
    /// Where it is told how it goes.
    pub report: RawFd,
}

/// The descriptor that the program reports to.
const REPORT_FD: RawFd = 3;
/// The score that CRI gives a pause container.
const OOM_SCORE: &CStr = c"-998";

/// What is told: a step that has failed, or one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// Another process goes on, with this pid.
    Forked = 0,
    /// The mappings of the new user namespace are to be written.
    Unmapped = 1,
    Cgroup = 2,
    Users = 3,
    Mapping = 4,
    Network = 5,
    Namespaces = 6,
    Fork = 7,
    Hostname = 8,
    Sysctl = 9,
    Root = 10,
    Label = 11,
    Rights = 12,
    Program = 13,
    Profile = 14,
    /// A new namespace for the pod's users.
    NewUsers = 15,
    Seccomp = 100,
    /// The program runs.
    Ready = u32::MAX,
}

impl Step {
    const ALL: [Self; 18] = [
        Self::Forked,
        Self::Unmapped,
        Self::Cgroup,
        Self::Users,
        Self::Mapping,
        Self::Network,
        Self::Namespaces,
        Self::Fork,
        Self::Hostname,
        Self::Sysctl,
        Self::Root,
        Self::Label,
        Self::Rights,
        Self::Program,
        Self::Profile,
        Self::NewUsers,
        Self::Seccomp,
        Self::Ready,
    ];

    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step as u32 == number)
    }

    /// What was tried, for an error.
    pub fn words(self) -> &'static str {
        match self {
            Self::Forked | Self::Fork => "fork in the pod's cgroup",
            Self::Unmapped | Self::Mapping => "map the pod's users",
            Self::Cgroup => "join the pod's cgroup",
            Self::Users => "join the pod's user namespace",
            Self::NewUsers => "make the pod's user namespace",
            Self::Network => "join the pod's network namespace",
            Self::Namespaces => "make the pod's namespaces",
            Self::Hostname => "set the pod's hostname",
            Self::Sysctl => "write a sysctl",
            Self::Root => "make the empty root",
            Self::Label => "set the label of SELinux",
            Self::Profile => "set the profile of AppArmor",
            Self::Rights => "give up all rights",
            Self::Program | Self::Ready => "execute the program",
            Self::Seccomp => "filter system calls",
        }
    }

    /// What the kernel was asked for, where its error may be that of a limit; `number`: which one of several.
    pub fn asked(self, number: usize) -> Option<Asked> {
        match self {
            Self::Cgroup => Some(Asked::CgroupMove),
            Self::NewUsers => Some(Asked::Namespace("user")),
            Self::Namespaces => Some(match NAMESPACES.get(number) {
                Some((_, kind)) => Asked::Namespace(kind),
                None => Asked::SomeNamespace,
            }),
            Self::Root => Some(Asked::Mount),
            Self::Fork => Some(Asked::Fork),
            Self::Program => Some(Asked::Execute),
            _ => None,
        }
    }

    /// The system calls that it is, one of which a filter may refuse.
    pub fn call(self) -> Option<&'static str> {
        match self {
            Self::Users | Self::Network => Some("setns"),
            Self::NewUsers | Self::Namespaces => Some("unshare"),
            Self::Fork => Some("clone"),
            Self::Hostname => Some("sethostname"),
            Self::Root => Some("mount, umount2 or pivot_root"),
            Self::Rights => Some("prctl, setgroups, setresgid, setresuid or capset"),
            Self::Program => Some("execveat"),
            Self::Seccomp => Some("seccomp"),
            _ => None,
        }
    }
}

/// A step that has failed.
type Outcome = Result<(), (Step, i32)>;

/// Which of several has failed, beside its error; the kernel's errors are below 4096.
pub fn of_several(number: usize, error: i32) -> i32 {
    i32::try_from(number).map_or(error, |number| (number & 0x7fff) << 16 | error & 0xffff)
}

/// The number and the error that [`of_several`] put together.
pub fn failure(value: i32) -> (usize, i32) {
    (usize::try_from(value >> 16).unwrap_or(0), value & 0xffff)
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A step's system call.
fn check(step: Step, returned: c_long) -> Result<c_long, (Step, i32)> {
    match returned {
        -1 => Err((step, errno())),
        other => Ok(other),
    }
}

fn report(plan: &Plan, step: Step, value: i32) {
    let mut message = [0u8; 8];
    let (number, rest) = message.split_at_mut(4);
    number.copy_from_slice(&(step as u32).to_ne_bytes());
    rest.copy_from_slice(&value.to_ne_bytes());
    // SAFETY: the buffer has that length.
    unsafe { libc::write(plan.report, message.as_ptr().cast(), message.len()) };
}

/// Runs in the forked process, to its end.
///
/// # Safety
/// To be called in a process of its own that is a copy of the caller's.
pub unsafe fn run(plan: &Plan) -> ! {
    // SAFETY: as the caller says.
    if let Err((step, error)) = unsafe { become_holder(plan) } {
        report(plan, step, error);
    }
    // SAFETY: ends this process.
    unsafe { libc::_exit(1) }
}

unsafe fn become_holder(plan: &Plan) -> Outcome {
    // SAFETY: here and below, system calls with integers and with pointers to what the plan has, or what is static.
    unsafe {
        for &cgroup in &plan.cgroups {
            check(
                Step::Cgroup,
                libc::write(cgroup, c"0".as_ptr().cast(), 1) as c_long,
            )?;
        }
        // Without the right to it, it keeps the shim's.
        let _ = write(c"/proc/self/oom_score_adj", OOM_SCORE);
        users(plan)?;
        if let Some(network) = plan.network {
            check(
                Step::Network,
                libc::setns(network, libc::CLONE_NEWNET).into(),
            )?;
        }
        make_namespaces(plan.new | libc::CLONE_NEWNS)?;
        if plan.first {
            be_first(plan)?;
        }
        libc::setsid();
        if let Some(hostname) = &plan.hostname {
            let length = hostname.as_bytes().len();
            check(
                Step::Hostname,
                libc::sethostname(hostname.as_ptr(), length).into(),
            )?;
        }
        for (number, (file, value)) in plan.sysctls.iter().enumerate() {
            write(file, value).map_err(|error| (Step::Sysctl, of_several(number, error)))?;
        }
        if let Some(label) = &plan.label {
            write(c"/proc/self/attr/exec", label).map_err(|error| (Step::Label, error))?;
        }
        if let Some(profile) = &plan.profile {
            // Since Linux 5.8 AppArmor has files of its own beside another module's.
            write(c"/proc/self/attr/apparmor/exec", profile)
                .or_else(|_| write(c"/proc/self/attr/exec", profile))
                .map_err(|error| (Step::Profile, error))?;
        }
        empty_root()?;
        give_up(plan)?;
        execute(plan)
    }
}

/// New namespaces. Which one is refused the kernel does not say: each is asked for by itself then.
unsafe fn make_namespaces(flags: c_int) -> Outcome {
    // SAFETY: as above.
    unsafe {
        if libc::unshare(flags) == 0 {
            return Ok(());
        }
        let error = errno();
        let refused = |&(flag, _): &(c_int, _)| flags & flag != 0 && libc::unshare(flag) != 0;
        let number = NAMESPACES.iter().position(refused);
        let number = number.unwrap_or(NAMESPACES.len());
        Err((Step::Namespaces, of_several(number, error)))
    }
}

unsafe fn users(plan: &Plan) -> Outcome {
    // SAFETY: as above.
    unsafe {
        if let Some(users) = plan.users {
            check(Step::Users, libc::setns(users, libc::CLONE_NEWUSER).into())?;
        } else if let Some(mapped) = plan.mapped {
            check(Step::NewUsers, libc::unshare(libc::CLONE_NEWUSER).into())?;
            report(plan, Step::Unmapped, 0);
            let mut byte = 0u8;
            if libc::read(mapped, (&raw mut byte).cast(), 1) != 1 {
                return Err((Step::Mapping, errno()));
            }
        } else {
            return Ok(());
        }
        for call in [libc::SYS_setresgid, libc::SYS_setresuid] {
            check(Step::Users, libc::syscall(call, 0, 0, 0))?;
        }
    }
    Ok(())
}

/// Goes on as the first process of a new PID namespace, still the shim's child.
unsafe fn be_first(plan: &Plan) -> Outcome {
    // SAFETY: as above; the new process goes on with its own copy of the memory.
    unsafe {
        make_namespaces(libc::CLONE_NEWPID)?;
        let flags = c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
        let pid = check(
            Step::Fork,
            libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0),
        )?;
        if pid > 0 {
            report(plan, Step::Forked, i32::try_from(pid).unwrap_or(0));
            libc::_exit(0);
        }
    }
    Ok(())
}

/// Nothing to be seen by `/proc/PID/root`, and nothing kept mounted.
unsafe fn empty_root() -> Outcome {
    let none = ptr::null::<c_char>();
    // Any folder that every user can enter, for a moment.
    let root = c"/proc".as_ptr();
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: as above.
    unsafe {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(
            Step::Root,
            libc::mount(none, c"/".as_ptr(), none, private, ptr::null()).into(),
        )?;
        let size = c"size=4k,nr_inodes=1,mode=555";
        let tmpfs = c"tmpfs".as_ptr();
        check(
            Step::Root,
            libc::mount(
                tmpfs,
                root,
                tmpfs,
                flags | libc::MS_RDONLY,
                size.as_ptr().cast(),
            )
            .into(),
        )?;
        check(Step::Root, libc::chdir(root).into())?;
        let here = c".".as_ptr();
        check(Step::Root, libc::syscall(libc::SYS_pivot_root, here, here))?;
        check(Step::Root, libc::umount2(here, libc::MNT_DETACH).into())?;
        check(Step::Root, libc::chdir(c"/".as_ptr()).into())?;
    }
    Ok(())
}

/// All capabilities, the groups, the user; for good.
unsafe fn give_up(plan: &Plan) -> Outcome {
    // SAFETY: as above.
    unsafe {
        // Up to the first that the kernel does not have.
        for capability in 0..64 {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 {
                break;
            }
        }
        check(
            Step::Rights,
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_CLEAR_ALL,
                0,
                0,
                0,
            )
            .into(),
        )?;
        check(
            Step::Rights,
            libc::syscall(libc::SYS_setgroups, 0, ptr::null::<u32>()),
        )?;
        let (uid, gid) = (plan.uid, plan.gid);
        check(
            Step::Rights,
            libc::syscall(libc::SYS_setresgid, gid, gid, gid),
        )?;
        check(
            Step::Rights,
            libc::syscall(libc::SYS_setresuid, uid, uid, uid),
        )?;
        // Where the user is root, its capabilities go with these.
        let header = [0x2008_0522u32, 0];
        let none = [0u32; 6];
        check(
            Step::Rights,
            libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()),
        )?;
        check(
            Step::Rights,
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into(),
        )?;
    }
    Ok(())
}

unsafe fn execute(plan: &Plan) -> Outcome {
    let arguments = [c"/pause".as_ptr(), ptr::null()];
    let environment = [ptr::null::<c_char>()];
    // SAFETY: as above; the lists end with a null pointer.
    unsafe {
        let default = libc::SIG_DFL;
        libc::signal(libc::SIGPIPE, default);
        check(Step::Program, libc::dup3(plan.report, REPORT_FD, 0).into())?;
        // The kernel may be older: then they are what the shim opens, closed on exec one by one.
        libc::syscall(
            libc::SYS_close_range,
            4,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
        check(
            Step::Program,
            libc::syscall(
                libc::SYS_execveat,
                plan.program,
                c"".as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            ),
        )?;
    }
    Ok(())
}

unsafe fn write(file: &CStr, text: &CStr) -> Result<(), i32> {
    // SAFETY: as above.
    unsafe {
        let fd = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return Err(errno());
        }
        let bytes = text.to_bytes();
        let written = libc::write(fd, bytes.as_ptr().cast(), bytes.len());
        let error = errno();
        libc::close(fd);
        match written {
            -1 => Err(error),
            _ => Ok(()),
        }
    }
}
