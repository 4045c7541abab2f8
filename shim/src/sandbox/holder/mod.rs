//! The process that holds the pod's namespaces: a program of a few instructions (`holder/main.rs` beside `src`), started
//! without an OCI runtime.

#[allow(unsafe_code)]
mod child;

use std::ffi::{CString, c_int};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::unistd::{Pid, pipe2};
use podhook_hooks::exec::{Children, Exit};
use podhook_hooks::forks::Fork;
use podhook_hooks::linux::limit::{Asked, may_be_filter};
use podhook_hooks::linux::watch;
use tokio::net::unix::pipe;
use tokio::sync::oneshot::{self, error::TryRecvError};

use self::child::{Plan, Step};
use super::config::{Int64Value, PodSandboxConfig, SecurityProfile, UserNamespace};
use super::files::Files;
use super::{selinux, sysctl};
use crate::cgroup::Leftover;
use crate::error::{Error, Result};
use crate::host::{descriptors, sealed};

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/holder"));

/// The user of every pause image.
const NOBODY: u32 = 65535;
/// How long the holder may take to run.
const LIMIT: Duration = Duration::from_secs(10);
/// How long one that is killed may take to end.
const KILL_LIMIT: Duration = Duration::from_secs(2);
/// Descriptors from here on are not in the way of those that the program is given.
const FREE_FD: c_int = 10;
/// There where AppArmor is enabled.
const APPARMOR: &str = "/sys/kernel/security/apparmor";
/// libc's constant does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A holder that runs.
pub struct Holder {
    pub pid: libc::pid_t,
    pub exit: oneshot::Receiver<Exit>,
}

/// Starts the holder of a pod, in the cgroup that is made for it.
pub async fn start(
    config: &PodSandboxConfig,
    network: &str,
    cgroup: &Leftover,
    children: &dyn Children,
) -> Result<Holder> {
    let mut made = Made::new(config, network, cgroup)?;
    let _hold = children.hold();
    let (mut pid, report) = made.fork()?;
    let mut exit = children.wait(pid);
    let heard = tokio::time::timeout(LIMIT, async {
        loop {
            match next(&report).await? {
                (Step::Ready, _) => return Ok(()),
                (Step::Forked, first) => {
                    pid = first;
                    exit = children.wait(pid);
                }
                (Step::Unmapped, _) => made.map_users(pid)?,
                (step, value) => return Err(made.failed(step, value)),
            }
        }
    });
    let started = heard
        .await
        .unwrap_or_else(|_| Err(Error::Missing("the pod's holder did not get ready in time")));
    let holder = Holder { pid, exit };
    if let Err(e) = started {
        holder.kill().await;
        return Err(e);
    }
    Ok(holder)
}

impl Holder {
    /// Kills it. One that cannot end yet, in a cgroup that is frozen, is not waited for for long.
    pub async fn kill(mut self) {
        // What is reaped has told its exit: nothing else runs until this has signalled.
        if matches!(self.exit.try_recv(), Err(TryRecvError::Empty)) {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
            let _ = tokio::time::timeout(KILL_LIMIT, self.exit).await;
        }
    }
}

/// The next that is heard.
async fn next(report: &pipe::Receiver) -> Result<(Step, i32)> {
    let ended = || Error::Missing("the pod's holder ended before it was ready");
    let mut bytes = [0u8; 8];
    loop {
        report
            .readable()
            .await
            .map_err(Error::sys("read from the pod's holder"))?;
        match report.try_read(&mut bytes) {
            Ok(8) => {}
            Ok(_) => return Err(ended()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(Error::sys("read from the pod's holder")(e)),
        }
        let [a, b, c, d, e, f, g, h] = bytes;
        let step = Step::of(u32::from_ne_bytes([a, b, c, d])).ok_or_else(ended)?;
        return Ok((step, i32::from_ne_bytes([e, f, g, h])));
    }
}

/// A cgroup of version 2, which the process is born in, and the file by which it joins it where it cannot be.
type Birth = (File, RawFd);

/// The plan, and what it refers to.
struct Made<'a> {
    plan: Plan,
    network: &'a str,
    born_in: Option<Birth>,
    users: Option<&'a UserNamespace>,
    mapped: Option<File>,
    /// This process's end of the pipe, and the other's.
    pipe: Option<(OwnedFd, OwnedFd)>,
    _kept: Vec<OwnedFd>,
}

impl<'a> Made<'a> {
    fn new(config: &'a PodSandboxConfig, path: &'a str, cgroup: &Leftover) -> Result<Self> {
        let security = config.security();
        let namespaces = config.namespaces();
        let users = namespaces.users();
        let mut kept = Vec::new();
        let mut keep = |fd: OwnedFd| -> Result<RawFd> {
            let high = above(fd)?;
            let raw = high.as_raw_fd();
            kept.push(high);
            Ok(raw)
        };
        let network = match path {
            "" => None,
            path => Some(open_network(Path::new(path))?),
        };
        let pod_users = match (users, &network) {
            (Some(_), Some(network)) => Some(keep(owner(network, path)?)?),
            _ => None,
        };
        let (mapped, told) = match (users, &network) {
            (Some(_), None) => {
                let (read, write) = pipe_of()?;
                (Some(keep(read)?), Some(File::from(write)))
            }
            _ => (None, None),
        };
        let network = network.map(|file| keep(file.into())).transpose()?;
        let program = keep(program()?)?;
        let (reports, report) = pipe_of()?;
        let report = above(report)?;
        let (cgroups, born_in) = places(cgroup, &mut keep)?;
        let mut new = 0;
        if !namespaces.host_ipc() {
            new |= libc::CLONE_NEWIPC;
        }
        if !namespaces.host_network() {
            new |= libc::CLONE_NEWUTS;
        }
        let hostname = (!namespaces.host_network())
            .then(|| Files::hostname(config))
            .transpose()?;
        let plan = Plan {
            cgroups,
            users: pod_users,
            mapped,
            network,
            new,
            first: namespaces.shared_pid(),
            hostname: hostname.map(text).transpose()?,
            sysctls: sysctls(config)?,
            label: selinux::process_label(security.and_then(|own| own.selinux_options.as_ref()))
                .map(text)
                .transpose()?,
            profile: security
                .and_then(|own| own.apparmor.as_ref())
                .and_then(apparmor_profile)
                .map(text)
                .transpose()?,
            uid: id(security.and_then(|own| own.run_as_user.as_ref()))?,
            gid: id(security.and_then(|own| own.run_as_group.as_ref()))?,
            program,
            report: report.as_raw_fd(),
        };
        Ok(Self {
            plan,
            network: path,
            born_in,
            users,
            mapped: told,
            pipe: Some((reports, report)),
            _kept: kept,
        })
    }

    /// Forks; the pid, and where the process reports.
    fn fork(&mut self) -> Result<(libc::pid_t, pipe::Receiver)> {
        // The other end is closed when this returns: the process has its own.
        let (reports, _report) = self.pipe.take().ok_or(Error::Missing("no pipe"))?;
        let reports = watch::receiver(reports).map_err(Error::sys("watch the pod's holder"))?;
        let _fork = Fork::new();
        let pid = match self.born_in.take() {
            Some((dir, procs)) => fork(Some(dir.as_raw_fd()), &self.plan).or_else(|_| {
                // A kernel or a sandbox around the node that does not know it.
                self.plan.cgroups.push(procs);
                fork(None, &self.plan)
            }),
            None => fork(None, &self.plan),
        };
        let pid = pid.map_err(|e| Error::sys("fork")(Asked::Fork.explain(e)))?;
        Ok((pid, reports))
    }

    /// A step's failure, with the namespace, the sysctl or the limit that it is about.
    fn failed(&self, step: Step, value: i32) -> Error {
        let (number, errno) = child::failure(value);
        let mut operation = format!("start the pod's holder: {}", step.words());
        if step == Step::Network {
            operation.push_str(&format!(" {}", self.network));
        }
        let sysctl = (step == Step::Sysctl).then(|| self.plan.sysctls.get(number));
        if let Some((path, value)) = sysctl.flatten() {
            let (path, value) = (path.to_string_lossy(), value.to_string_lossy());
            operation.push_str(&format!(": {value:?} to {}", path.escape_debug()));
        }
        let error = io::Error::from_raw_os_error(errno);
        let asked = step
            .asked(number)
            .filter(|asked| asked.limit(errno).is_some());
        Error::failed(operation)(match asked.or(step.call().map(Asked::Call)) {
            Some(asked) => asked.explain(error),
            None => error,
        })
    }

    fn map_users(&self, pid: libc::pid_t) -> Result<()> {
        let (Some(users), Some(mut mapped)) = (self.users, self.mapped.as_ref()) else {
            return Ok(());
        };
        for (name, list) in [("uid_map", &users.uids), ("gid_map", &users.gids)] {
            let lines = list
                .iter()
                .map(|map| format!("{} {} {}\n", map.container_id, map.host_id, map.length));
            let path = PathBuf::from(format!("/proc/{pid}/{name}"));
            std::fs::write(&path, lines.collect::<String>()).map_err(Error::io("write", path))?;
        }
        mapped
            .write_all(b"1")
            .map_err(Error::sys("tell the pod's holder"))
    }
}

/// The process is a copy of this one that goes straight into the plan.
#[allow(unsafe_code)]
fn fork(cgroup: Option<RawFd>, plan: &Plan) -> io::Result<libc::pid_t> {
    // SAFETY: plain data, all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags = CLONE_INTO_CGROUP;
        args.cgroup = cgroup as u64;
    }
    let mut before = SigSet::empty();
    // A handler of this process must not run in the child.
    pthread_sigmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        Some(&mut before),
    )?;
    // SAFETY: without CLONE_VM and a stack it is a fork: the child goes on with its own copy of the memory, and does
    // nothing but system calls.
    let pid = unsafe {
        let size = size_of::<libc::clone_args>();
        match libc::syscall(libc::SYS_clone3, &raw const args, size) {
            -1 if may_be_filter(&io::Error::last_os_error()) && cgroup.is_none() => libc::syscall(
                libc::SYS_clone,
                libc::c_long::from(libc::SIGCHLD),
                0,
                0,
                0,
                0,
            ),
            pid => pid,
        }
    };
    if pid == 0 {
        // SAFETY: this is the child.
        unsafe { child::run(plan) }
    }
    let forked = match pid {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(i32::try_from(pid).unwrap_or(-1)),
    };
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    forked
}

/// The files by which it joins its cgroups of version 1, and the one of version 2.
fn places(
    cgroup: &Leftover,
    keep: &mut impl FnMut(OwnedFd) -> Result<RawFd>,
) -> Result<(Vec<RawFd>, Option<Birth>)> {
    let mut files = Vec::new();
    let mut born_in = None;
    for dir in cgroup.find().map_err(Error::lower)? {
        // Version 1: the same for a process of one thread, without a wait for the kernel's readers.
        let tasks = dir.join("tasks");
        let path = match tasks.exists() {
            true => tasks,
            false => dir.join("cgroup.procs"),
        };
        let file = OpenOptions::new().write(true).open(&path);
        let file = keep(file.map_err(Error::io("open", path))?.into())?;
        match cgroup.is_unified() {
            true => born_in = Some((open(&dir)?, file)),
            false => files.push(file),
        }
    }
    Ok((files, born_in))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(Error::io("open", path))
}

/// Without a wait, whatever is there under that name.
fn open_network(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    options
        .open(path)
        .map_err(Error::io("open the pod's network namespace", path))
}

/// The user namespace that a namespace belongs to.
#[allow(unsafe_code)]
fn owner(namespace: &File, path: &str) -> Result<OwnedFd> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: an ioctl without an argument, which returns a descriptor.
    match unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS as _) } {
        -1 => Err(Error::io(
            "find the owner of the pod's network namespace",
            path,
        )(io::Error::last_os_error())),
        // SAFETY: a new descriptor that nothing else owns.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

/// The program as a file in memory that nobody can change.
fn program() -> Result<OwnedFd> {
    let made = sealed::file(c"podhook-pause", |file| file.write_all(PROGRAM));
    // One that is open for writing cannot be executed.
    let opened = made.and_then(|file| File::open(format!("/proc/self/fd/{}", file.as_raw_fd())));
    opened
        .map(OwnedFd::from)
        .map_err(Error::sys("make the holder's program"))
}

fn above(fd: OwnedFd) -> Result<OwnedFd> {
    descriptors::above(fd.as_fd(), FREE_FD).map_err(Error::sys("duplicate"))
}

fn pipe_of() -> Result<(OwnedFd, OwnedFd)> {
    pipe2(OFlag::O_CLOEXEC).map_err(Error::sys("make a pipe"))
}

fn text(text: impl Into<Vec<u8>>) -> Result<CString> {
    CString::new(text).map_err(|e| Error::InvalidArgument(format!("the pod's configuration: {e}")))
}

fn id(given: Option<&Int64Value>) -> Result<u32> {
    given.map_or(Ok(NOBODY), |id| {
        let id = id.value;
        u32::try_from(id).map_err(|_| Error::InvalidArgument(format!("user or group {id}")))
    })
}

/// What the kernel is told of a profile of AppArmor that is loaded on the node. The default one is made for containers,
/// and the holder may do less than it allows.
fn apparmor_profile(profile: &SecurityProfile) -> Option<String> {
    let named = profile.profile_type == SecurityProfile::LOCALHOST;
    let name = profile.localhost_ref.trim_start_matches("localhost/");
    (named && Path::new(APPARMOR).exists()).then(|| format!("exec {name}"))
}

/// Their files, and what is written there.
fn sysctls(config: &PodSandboxConfig) -> Result<Vec<(CString, CString)>> {
    let all = sysctl::all(config).into_iter();
    all.map(|(name, value)| Ok((text(sysctl::path(&name))?, text(value)?)))
        .collect()
}

#[cfg(test)]
mod tests;
