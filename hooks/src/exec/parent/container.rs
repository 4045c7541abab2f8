//! A container to run processes in.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libc::c_int;

use super::inherited::Inherited;
use super::process::{Process, c_string};
use crate::exec::seccomp::Filter;
use crate::exec::settings::{capabilities, namespaces, spec};
use crate::exec::tree::cgroup;
use crate::exec::tree::cgroup::Membership;
use crate::exec::{Error, seccomp};
use crate::linux::pidfd;

/// Descriptors of the engine stay clear of those that a child rearranges.
pub(in crate::exec) const FIRST_FREE_FD: RawFd = 10;

/// Everything needed to join a container: taken once, between the runtime's `create` and `start`, while
/// its init is held and has not run any of the container's code.
///
/// The pidfd pins the init: no later process with the same pid is ever joined or signalled.
#[derive(Debug)]
pub struct Container {
    pub(in crate::exec) id: String,
    pub(in crate::exec) pid: libc::pid_t,
    pub(in crate::exec) pidfd: OwnedFd,
    /// The host's procfs; labels are never written through the container's.
    pub(in crate::exec) procfs: &'static OwnedFd,
    pub(in crate::exec) namespaces: c_int,
    /// Device and inode of its pid namespace, where that is its own.
    pub(in crate::exec) pid_namespace: Option<(u64, u64)>,
    /// setgroups(2) is forbidden in the container's user namespace.
    pub(in crate::exec) setgroups_denied: bool,
    /// uid_map of the container's user namespace: (inside, outside, length).
    uids: Vec<(u32, u32, u32)>,
    pub(in crate::exec) cgroups: Membership,
    pub(in crate::exec) inherited: Inherited,
    pub(in crate::exec) last_capability: u32,
    /// The session keyring to join, `_ses.ID` as runc names it.
    pub(in crate::exec) keyring: Option<CString>,
    pub(in crate::exec) umask: Option<u32>,
    pub(in crate::exec) oom_score_adj: Option<i32>,
    pub(in crate::exec) personality: Option<spec::Personality>,
    /// The container's own process, for what a process of its own does not say.
    pub(in crate::exec) process: Process,
    unsupported: Option<String>,
    seccomp: Mutex<Seccomp>,
    /// As many as were seen last.
    oom_kills: AtomicU64,
}

/// The profile: as text until the first process needs it, then compiled.
#[derive(Debug)]
enum Seccomp {
    None,
    Source(Box<serde_json::value::RawValue>),
    Compiled(Arc<Filter>),
}

impl Container {
    /// Opens the container whose init is `pid`. Call it after the runtime's `create` and before anyone
    /// can reap the init.
    ///
    /// # Errors
    /// Where the init is gone or /proc cannot be read. A container that the engine cannot serve opens
    /// well: [`super::spawn()`] then fails with [`Error::Unsupported`].
    pub fn open(id: &str, pid: libc::pid_t, spec: &spec::Spec) -> Result<Self, Error> {
        let pidfd = pidfd::open(pid).map_err(|source| match source.raw_os_error() {
            Some(libc::ESRCH) => Error::NotRunning(id.to_string()),
            _ => Error::System {
                operation: "pidfd_open",
                source,
            },
        })?;
        let namespaces = namespaces::differing(pid)?;
        let inherited = Inherited::of(pid);
        let umask = spec.process.user.umask.or(inherited.runtime.umask());
        let container = Self {
            id: id.to_string(),
            pid,
            pidfd: above(pidfd)?,
            procfs: procfs()?,
            namespaces,
            pid_namespace: match namespaces & libc::CLONE_NEWPID {
                0 => None,
                _ => namespaces::pid_namespace(pid)?,
            },
            setgroups_denied: namespaces & libc::CLONE_NEWUSER != 0
                && std::fs::read_to_string(format!("/proc/{pid}/setgroups"))
                    .is_ok_and(|text| text.trim() == "deny"),
            uids: match namespaces & libc::CLONE_NEWUSER {
                0 => Vec::new(),
                _ => uid_map(pid)?,
            },
            cgroups: Membership::of(pid)?,
            inherited,
            last_capability: capabilities::last(),
            keyring: Some(c_string("container id", &format!("_ses.{id}"))?),
            umask,
            oom_score_adj: spec.process.oom_score_adj,
            personality: spec.linux.personality.clone(),
            process: Process::of_container(spec),
            oom_kills: AtomicU64::new(0),
            unsupported: unsupported(spec, namespaces::has_time_namespace(pid)?),
            seccomp: Mutex::new(match &spec.linux.seccomp {
                Some(source) => Seccomp::Source(source.clone()),
                None => Seccomp::None,
            }),
        };
        // All of the above was read by pid: it is the init's only if that was there to the end.
        container.send_signal(0)?;
        Ok(container)
    }

    /// For a container that was created with `--no-new-keyring`: its processes keep the session keyring
    /// of the shim.
    #[must_use]
    pub fn without_keyring(mut self) -> Self {
        self.keyring = None;
        self
    }

    /// The init, as a pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Signals the init.
    ///
    /// # Errors
    /// [`Error::NotRunning`] where it has been reaped.
    pub fn send_signal(&self, signal: i32) -> Result<(), Error> {
        pidfd::send_signal(self.pidfd(), signal).map_err(|source| match source.raw_os_error() {
            Some(libc::ESRCH) => Error::NotRunning(self.id.clone()),
            _ => Error::System {
                operation: "pidfd_send_signal",
                source,
            },
        })
    }

    /// Whether the kernel has killed processes for the container's memory limit since this was asked last.
    /// Where it does not tell, it has not.
    pub fn has_new_oom_kills(&self) -> bool {
        let now = oom_kills(&self.cgroups);
        self.oom_kills.swap(now, Ordering::Relaxed) < now
    }

    /// What `uid` of the container is to the host, where the container has a user namespace.
    pub(crate) fn host_uid(&self, uid: u32) -> Option<u32> {
        self.uids.iter().find_map(|&(inside, outside, length)| {
            let offset = uid.checked_sub(inside)?;
            (offset < length).then(|| outside.checked_add(offset))?
        })
    }

    /// The container's own process as it was specified.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Whether the engine can run a process here, without running one: for a caller that would else leave
    /// it to the runtime.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where it cannot, or what is wrong with the seccomp profile.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(what) = &self.unsupported {
            return Err(Error::Unsupported(what.clone()));
        }
        self.seccomp().map(drop)
    }

    /// The compiled seccomp profile.
    pub(in crate::exec) fn seccomp(&self) -> Result<Option<Arc<Filter>>, Error> {
        let mut seccomp = self.seccomp.lock().unwrap_or_else(PoisonError::into_inner);
        if let Seccomp::Source(source) = &*seccomp {
            *seccomp = match seccomp::compile(source.get())? {
                Some(filter) => Seccomp::Compiled(filter.shared()),
                None => Seccomp::None,
            };
        }
        Ok(match &*seccomp {
            Seccomp::Compiled(filter) => Some(filter.clone()),
            _ => None,
        })
    }
}

/// The `oom_kill` line of the memory cgroup.
fn oom_kills(cgroups: &Membership) -> u64 {
    let file = match (cgroups.controller("memory"), cgroups.unified()) {
        (Some(v1), _) => v1.dir.join("memory.oom_control"),
        (None, Some(v2)) => v2.dir.join("memory.events"),
        (None, None) => return 0,
    };
    std::fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or_default()
}

/// What only the runtime can do, from the whole of the configuration.
fn unsupported(spec: &spec::Spec, time_namespace: bool) -> Option<String> {
    if time_namespace {
        return Some("time namespace".to_string());
    }
    if spec.linux.intel_rdt.is_some() {
        return Some("linux.intelRdt".to_string());
    }
    if spec.linux.memory_policy.is_some() {
        return Some("linux.memoryPolicy".to_string());
    }
    // crun: other handlers (wasm, krun) have no process to join, the others change how it joins.
    const CRUN: [&str; 3] = [
        "run.oci.handler",
        "run.oci.seccomp_bpf_data",
        "run.oci.keep_original_groups",
    ];
    CRUN.iter()
        .find(|key| spec.annotations.contains_key(**key))
        .map(|key| format!("annotation {key}"))
}

fn uid_map(pid: libc::pid_t) -> Result<Vec<(u32, u32, u32)>, Error> {
    let text = cgroup::read(Path::new(&format!("/proc/{pid}/uid_map")))?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            match (numbers.next(), numbers.next(), numbers.next()) {
                (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(length))) => {
                    Some((inside, outside, length))
                }
                _ => None,
            }
        })
        .collect())
}

/// The host's procfs, one for all containers.
fn procfs() -> Result<&'static OwnedFd, Error> {
    static PROCFS: OnceLock<OwnedFd> = OnceLock::new();
    match PROCFS.get() {
        Some(procfs) => Ok(procfs),
        None => {
            let opened = open_procfs()?;
            Ok(PROCFS.get_or_init(|| opened))
        }
    }
}

/// Checked to be a procfs (CVE-2019-16884).
fn open_procfs() -> Result<OwnedFd, Error> {
    let file = |operation| {
        move |source| Error::File {
            operation,
            path: PathBuf::from("/proc"),
            source,
        }
    };
    let directory = std::fs::File::open("/proc").map_err(file("open"))?;
    // SAFETY: `statfs` is plain data, all zeroes is a valid value.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a valid descriptor and a valid place to write to.
    if unsafe { libc::fstatfs(directory.as_raw_fd(), &mut stat) } != 0 {
        return Err(file("statfs")(io::Error::last_os_error()));
    }
    if stat.f_type != libc::PROC_SUPER_MAGIC {
        return Err(file("is no procfs:")(io::Error::from_raw_os_error(
            libc::EINVAL,
        )));
    }
    above(directory.into())
}

/// The same file at a number that the child does not use for itself.
pub(crate) fn above(fd: OwnedFd) -> Result<OwnedFd, Error> {
    if fd.as_raw_fd() >= FIRST_FREE_FD {
        return Ok(fd);
    }
    // SAFETY: a valid descriptor.
    let new = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST_FREE_FD) };
    if new < 0 {
        return Err(Error::system("fcntl(F_DUPFD_CLOEXEC)"));
    }
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}
