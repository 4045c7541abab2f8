//! Everything a new process needs, resolved and allocated before it is made.
//!
//! Between clone and execve the two children (`intermediate`, `child`) only read what is here.

use std::ffi::{c_int, c_ulong};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::container::{Container, above};
use super::places::{Counted, Placed, Places};
use super::process::{Process, c_string};
use super::{process, view};
use crate::exec::Error;
use crate::exec::child::terminal::Terminal;
use crate::exec::plan::command::{Last, Parts, Prepared};
use crate::exec::seccomp::Filter;
use crate::exec::settings::capabilities::Sets;
use crate::exec::settings::{rlimit, schedule, spec};
use crate::exec::tree::{Tree, cgroup};

/// The three files of a new process.
#[derive(Debug)]
pub struct Stdio {
    /// Becomes descriptor 0.
    pub stdin: OwnedFd,
    /// Becomes descriptor 1.
    pub stdout: OwnedFd,
    /// Becomes descriptor 2.
    pub stderr: OwnedFd,
}

/// The CPUs of a process that has joined the container's cgroups.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// Those that the caller has.
    Kept,
    /// All of the cpuset.
    All,
    Set(Vec<u64>),
}

/// The plan of one process.
pub(crate) struct Plan<'a> {
    pub container: &'a Container,
    /// Unused where there is a terminal.
    pub stdio: [RawFd; 3],
    pub terminal: Option<Terminal>,
    /// The cgroups it goes to.
    pub places: Places,
    pub counted: Counted,
    /// Where the init has gone in cgroup v2, if it has.
    moved: Option<PathBuf>,
    pub oom_score_adj: Option<String>,
    pub initial_affinity: Option<Vec<u64>>,
    pub final_affinity: Affinity,
    pub limits: rlimit::Steps,
    pub key_label: Option<String>,
    pub exec_label: Option<String>,
    pub apparmor: Option<String>,
    pub no_new_privileges: bool,
    pub scheduler: Option<libc::sched_attr>,
    pub io_priority: Option<c_int>,
    pub personality: Option<c_ulong>,
    pub seccomp: Option<Arc<Filter>>,
    /// The final child takes on user and restrictions itself: what is asked for does not survive a fork,
    /// or forbids it.
    pub late: bool,
    /// The seccomp profile lets the final child wait for its move.
    can_wait: bool,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub capabilities: Sets,
    /// Where to and what as, for messages.
    pub command: String,
    pub cwd: String,
    /// What the final child reads.
    pub prepared: Prepared,
    pub tree: Option<Tree>,
    /// Keeps the descriptors above open.
    _files: Vec<OwnedFd>,
}

impl<'a> Plan<'a> {
    /// Resolves `process` for `container`.
    pub fn new(
        container: &'a Container,
        process: &Process,
        stdio: Files,
        tree: bool,
    ) -> Result<Self, Error> {
        container.check()?;
        let spec = &process.spec;
        let own = &container.process.spec;
        process::check(spec, container.inherited.runtime)?;
        let command = spec.args.first().map(String::as_str).unwrap_or_default();
        let (envp, home) = process::environment(&spec.env)?;
        let argv = spec
            .args
            .iter()
            .map(|argument| c_string("argument", argument))
            .collect::<Result<Vec<_>, _>>()?;
        let label = non_empty(&spec.selinux_label).or_else(|| non_empty(&own.selinux_label));
        let apparmor =
            non_empty(&spec.apparmor_profile).or_else(|| non_empty(&own.apparmor_profile));
        let rlimits = match spec.rlimits.as_slice() {
            [] => own.rlimits.as_slice(),
            some => some,
        };
        let affinity = spec
            .exec_cpu_affinity
            .as_ref()
            .or(own.exec_cpu_affinity.as_ref());
        let groups = spec.user.additional_gids.clone();
        if container.setgroups_denied && !groups.is_empty() {
            return Err(Error::Invalid(
                "additional groups, but setgroups is denied in the user namespace".into(),
            ));
        }
        let mut files = Kept::default();
        let (stdio, terminal) = match stdio {
            Files::Given(given) => {
                let given = [
                    files.keep(given.stdin)?,
                    files.keep(given.stdout)?,
                    files.keep(given.stderr)?,
                ];
                (given, None)
            }
            Files::Terminal(socket) => {
                let terminal = Terminal {
                    socket: files.keep(socket)?,
                    size: spec.console_size.as_ref().and_then(spec::ConsoleSize::get),
                };
                ([-1; 3], Some(terminal))
            }
        };
        let seccomp = container.seccomp()?;
        let scheduler = spec.scheduler.as_ref().or(own.scheduler.as_ref());
        let io_priority = spec.io_priority.as_ref().or(own.io_priority.as_ref());
        let capabilities = spec.capabilities.as_ref().or(own.capabilities.as_ref());
        let limits = rlimit::of(0);
        let base = match spec.rlimits.as_slice() {
            [] => container.inherited.limits.clone(),
            // All in place of all: what the container's process has of its own is not the runtime's to give.
            _ => rlimit::without(&container.inherited.limits, &own.rlimits, &limits),
        };
        let limits = rlimit::Steps::new(&limits, rlimit::with(&base, rlimits)?);
        // A scheduling policy may be one that a fork resets or that forbids it (SCHED_DEADLINE). A limit of
        // processes would count the first child.
        let late = scheduler.is_some()
            || rlimits.iter().any(|limit| limit.kind == "RLIMIT_NPROC")
            || !spec.no_new_privileges && seccomp.as_ref().is_some_and(|filter| !filter.lets_fork);
        let cwd = c_string("cwd", &spec.cwd)?;
        let prepared = Prepared::new(&Parts {
            terminal: terminal.is_some(),
            cwd: &cwd,
            seccomp: seccomp.as_deref().filter(|_| spec.no_new_privileges),
            lookup: &process::lookup(command, &envp)?,
            argv: &argv,
            envp: &envp,
            home,
        })?;
        let moved = moved_to(container)?;
        let cgroups = &container.cgroups;
        let counted = Counted::fitting(cgroups);
        let can_wait =
            spec.no_new_privileges || seccomp.as_ref().is_none_or(|filter| filter.lets_wait);
        let late = late || counted == Counted::Last && !can_wait;
        // Last, so that hardly anything after it can fail.
        let is_root = view::is_root(container);
        let mut tree = tree.then(|| Tree::new(cgroups, moved.as_deref(), is_root));
        let open =
            |leaf: Option<Placed<'_>>| Places::open(cgroups, leaf, moved.as_deref(), counted);
        let places = match (open(Placed::of(tree.as_ref(), is_root)), &mut tree) {
            // Who may write to the container's cgroups can remove it.
            (Err(error), Some(tree)) if tree.leaf().is_some() => {
                tree.lose_leaf(error.to_string());
                open(None)?
            }
            (places, _) => places?,
        };
        Ok(Self {
            container,
            stdio,
            terminal,
            places,
            counted,
            moved,
            oom_score_adj: container.oom_score_adj.map(|value| value.to_string()),
            initial_affinity: schedule::cpus(affinity.map_or("", |a| &a.initial))?,
            final_affinity: final_affinity(affinity, container.inherited.all_cpus)?,
            limits,
            key_label: label.clone().filter(|_| container.keyring.is_some()),
            exec_label: label,
            apparmor: apparmor.map(|profile| format!("exec {profile}")),
            no_new_privileges: spec.no_new_privileges,
            scheduler: scheduler.map(schedule::attributes).transpose()?,
            io_priority: io_priority.map(schedule::io_priority).transpose()?,
            personality: container
                .personality
                .as_ref()
                .map(personality)
                .transpose()?,
            seccomp,
            late,
            can_wait,
            uid: spec.user.uid,
            gid: spec.user.gid,
            groups,
            capabilities: Sets::new(capabilities, container.last_capability),
            command: command.to_string(),
            cwd: spec.cwd.clone(),
            prepared,
            tree,
            _files: files.0,
        })
    }

    /// What the final child reads.
    pub fn last(&mut self) -> &mut Last {
        // SAFETY: in the arena, which lives as long as `self`; nothing else has a reference to it.
        unsafe { self.prepared.last.as_mut() }
    }

    /// How many processes the command's user may have.
    pub fn processes_of_user(&self) -> u64 {
        let of = |limits: &rlimit::Limits| {
            let mut all = limits.iter();
            all.find_map(|(resource, limit)| (*resource == libc::RLIMIT_NPROC).then_some(*limit))
        };
        // What is set nowhere is inherited from this process.
        let limit = of(&self.limits.set).or_else(|| of(&rlimit::of(0)));
        limit.map_or(libc::RLIM64_INFINITY, |limit| limit.rlim_cur)
    }

    /// What can still be done when a fork was refused (EAGAIN): at first to count the final child only, then, where
    /// the user has its limit (RLIMIT_NPROC), to become that user only after the fork. False where nothing is left.
    pub fn give_way(&mut self) -> Result<bool, Error> {
        match (self.counted, self.late) {
            (Counted::Both, _) => {
                self.counted = Counted::Last;
                self.late |= !self.can_wait;
            }
            (Counted::Last, false) => self.late = true,
            (Counted::Last, true) => return Ok(false),
        }
        // The attempt before has used them up.
        let leaf = Placed::of(self.tree.as_ref(), view::is_root(self.container));
        let (cgroups, moved) = (&self.container.cgroups, self.moved.as_deref());
        self.places = Places::open(cgroups, leaf, moved, self.counted)?;
        Ok(true)
    }
}

/// Where the init is now in cgroup v2, if it left the container's cgroup: a container that moved its
/// processes down (systemd) and gave controllers to the children has a cgroup that takes no process any
/// more, EBUSY. runc then joins the init.
fn moved_to(container: &Container) -> Result<Option<PathBuf>, Error> {
    let Some(own) = container.cgroups.unified() else {
        return Ok(None);
    };
    // A cgroup without children has nothing to move down to; kernfs counts them as links.
    if own
        .dir
        .metadata()
        .is_ok_and(|metadata| metadata.nlink() <= 2)
    {
        return Ok(None);
    }
    let now = cgroup::unified_of(container.pid);
    // The pid was the init's when its cgroup was read.
    container.send_signal(0)?;
    Ok(now?.filter(|now| now != own).map(|now| now.dir))
}

fn final_affinity(asked: Option<&spec::CpuAffinity>, all: bool) -> Result<Affinity, Error> {
    let initial = asked.is_some_and(|asked| !asked.initial.trim().is_empty());
    Ok(
        match schedule::cpus(asked.map_or("", |asked| &asked.last))? {
            Some(mask) => Affinity::Set(mask),
            None if all && !initial => Affinity::All,
            None => Affinity::Kept,
        },
    )
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}

fn personality(spec: &spec::Personality) -> Result<c_ulong, Error> {
    if !spec.flags.is_empty() {
        return Err(Error::Unsupported("personality flags".into()));
    }
    // PER_LINUX and PER_LINUX32 of linux/personality.h.
    match spec.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(Error::Invalid(format!("unknown personality {other:?}"))),
    }
}

/// Where the files of a new process come from.
pub(crate) enum Files {
    Given(Stdio),
    /// From a terminal of the container, whose master goes through this socket.
    Terminal(OwnedFd),
}

/// Descriptors that live as long as the plan.
#[derive(Default)]
struct Kept(Vec<OwnedFd>);

impl Kept {
    fn keep(&mut self, fd: OwnedFd) -> Result<RawFd, Error> {
        let fd = above(fd)?;
        let raw = fd.as_raw_fd();
        self.0.push(fd);
        Ok(raw)
    }
}
