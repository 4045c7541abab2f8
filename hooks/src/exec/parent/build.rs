//! From a process's specification to its plan: everything is resolved and allocated before there is a process.
//!
//! The joiner and the command only read what is here, through the [`Plan`] that refers to it.

use std::ffi::{CString, c_int, c_ulong};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use super::container::Container;
use super::inherited::Family;
use super::pack::{Packed, Parts};
use super::places::{Counted, Placed, Places};
use super::process::{self, Process, c_string};
use super::stdio::{Files, Kept};
use super::{mappings, needed, view};
use crate::exec::Error;
use crate::exec::plan::entry::Entry;
use crate::exec::plan::foreign::Foreign;
use crate::exec::plan::rights::{Rights, Sets};
use crate::exec::plan::{Plan, Shared};
use crate::exec::seccomp::Filter;
use crate::exec::settings::schedule::Affinity;
use crate::exec::settings::{capabilities, rlimit, schedule, spec};
use crate::exec::tree::{Tree, cgroup};

/// All that the plan of one process refers to, and what the parent needs of it besides.
pub(crate) struct Build<'a> {
    pub container: &'a Container,
    /// Where to and what as, for messages.
    pub command: String,
    pub cwd: String,
    pub tree: Option<Tree>,
    /// The cgroups it goes to.
    pub places: Places,
    pub counted: Counted,
    pub packed: Packed,
    stdio: Kept,
    /// Where the init has gone in cgroup v2, if it has.
    moved: Option<PathBuf>,
    oom_score_adj: Option<String>,
    initial_affinity: Option<Vec<u64>>,
    final_affinity: Affinity,
    limits: rlimit::Steps,
    label: Option<String>,
    apparmor: Option<String>,
    no_new_privileges: bool,
    scheduler: Option<libc::sched_attr>,
    io_priority: Option<c_int>,
    personality: Option<c_ulong>,
    seccomp: Option<Arc<Filter>>,
    /// See [`Plan::late`].
    late: bool,
    /// The seccomp profile lets the command wait for its move.
    can_wait: bool,
    user: spec::User,
    capabilities: Sets,
}

/// What is made for one attempt.
pub(crate) struct Attempt {
    pub report: RawFd,
    pub go: Option<RawFd>,
    pub shared: NonNull<Shared>,
}

impl<'a> Build<'a> {
    /// Resolves `process` for `container`.
    pub fn new(
        container: &'a Container,
        process: &Process,
        files: Files,
        tree: bool,
    ) -> Result<Self, Error> {
        container.check()?;
        needed::check(matches!(files, Files::Terminal(_)))?;
        let spec = &process.spec;
        let own = &container.process.spec;
        process::check(spec, container.inherited.runtime)?;
        let user = spec.user.clone();
        if container.setgroups_denied && !user.additional_gids.is_empty() {
            return Err(Error::Invalid(
                "additional groups, but setgroups is denied in the user namespace".into(),
            ));
        }
        let stdio = Kept::new(files, spec.console_size.as_ref())?;
        let seccomp = container.seccomp()?;
        let rlimits = match spec.rlimits.as_slice() {
            [] => own.rlimits.as_slice(),
            some => some,
        };
        let affinity = spec.exec_cpu_affinity.as_ref();
        let affinity = affinity.or(own.exec_cpu_affinity.as_ref());
        let scheduler = spec.scheduler.as_ref().or(own.scheduler.as_ref());
        let io_priority = spec.io_priority.as_ref().or(own.io_priority.as_ref());
        let capabilities = spec.capabilities.as_ref().or(own.capabilities.as_ref());
        let apparmor = non_empty(&spec.apparmor_profile);
        let apparmor = apparmor.or_else(|| non_empty(&own.apparmor_profile));
        // A scheduling policy may be one that a fork resets or that forbids it (SCHED_DEADLINE). A limit of
        // processes would count the joiner.
        let late = scheduler.is_some()
            || rlimits.iter().any(|limit| limit.kind == "RLIMIT_NPROC")
            || !spec.no_new_privileges && seccomp.as_ref().is_some_and(|filter| !filter.lets_fork);
        let runtime = container.inherited.runtime;
        // A hook that cannot be executed has failed, and says so itself.
        let unexecuted = runtime.unexecuted().filter(|_| !tree);
        let packed = packed(
            spec,
            runtime,
            stdio.is_terminal(),
            seccomp.as_deref(),
            unexecuted,
        )?;
        let moved = moved_to(container)?;
        let counted = Counted::fitting(&container.cgroups);
        let can_wait =
            spec.no_new_privileges || seccomp.as_ref().is_none_or(|filter| filter.lets_wait);
        let limits = limits(container, spec, rlimits)?;
        let final_affinity = Affinity::asked(affinity, container.inherited.all_cpus)?;
        let initial_affinity = schedule::cpus(affinity.map_or("", |asked| &asked.initial))?;
        let scheduler = scheduler.map(schedule::attributes).transpose()?;
        let io_priority = io_priority.map(schedule::io_priority).transpose()?;
        let personality = container.personality.as_ref();
        let personality = personality.map(schedule::personality).transpose()?;
        // Last, so that nothing after it can fail.
        let (tree, places) = placed(container, moved.as_deref(), counted, tree)?;
        Ok(Self {
            container,
            command: spec.args.first().cloned().unwrap_or_default(),
            cwd: spec.cwd.clone(),
            tree,
            places,
            counted,
            packed,
            stdio,
            moved,
            oom_score_adj: container.oom_score_adj.map(|value| value.to_string()),
            initial_affinity,
            final_affinity,
            limits,
            label: non_empty(&spec.selinux_label).or_else(|| non_empty(&own.selinux_label)),
            apparmor: apparmor.map(|profile| format!("exec {profile}")),
            no_new_privileges: spec.no_new_privileges,
            scheduler,
            io_priority,
            personality,
            seccomp,
            late: late || counted == Counted::Command && !can_wait,
            can_wait,
            user,
            capabilities: capabilities::sets(
                capabilities,
                container.inherited.capabilities,
                container.last_capability,
            ),
        })
    }

    /// The parent's memory but for what the joiner and the command use. Reads the mappings of this process as they are
    /// now.
    pub fn foreign(&mut self, shared: NonNull<Shared>) -> Result<Foreign, Error> {
        let shared = shared.as_ptr() as usize;
        let kept = (shared, shared.saturating_add(size_of::<Shared>()));
        mappings::foreign(&mut self.packed.arena, kept)
    }

    /// What the joiner starts with.
    pub fn plan(&self, attempt: &Attempt, foreign: Foreign) -> Plan<'_> {
        let container = self.container;
        let label = self.label.as_deref();
        Plan {
            entry: Entry {
                initial_affinity: self.initial_affinity.as_deref(),
                joins: &self.places.joins,
                procfs: container.procfs.as_raw_fd(),
                oom_score_adj: self.oom_score_adj.as_deref(),
                key_label: label.filter(|_| container.keyring.is_some()),
                exec_label: label,
                apparmor: self.apparmor.as_deref(),
                init: container.pidfd.as_raw_fd(),
                namespaces: container.namespaces,
                final_affinity: self.final_affinity.plan(),
                raised_limits: &self.limits.raise,
                root: self.places.root.as_deref(),
                stdio: self.stdio.plan,
            },
            rights: self.rights(),
            late: self.late,
            command: self.packed.command,
            command_stack: self.packed.command_stack,
            foreign,
            report: attempt.report,
            go: attempt.go,
            shared: attempt.shared,
        }
    }

    fn rights(&self) -> Rights<'_> {
        let container = self.container;
        Rights {
            signals: container.inherited.signals,
            keyring: container.keyring.as_deref(),
            no_new_privileges: self.no_new_privileges,
            umask: container.umask,
            scheduler: self.scheduler.as_ref(),
            io_priority: self.io_priority,
            personality: self.personality,
            timer_slack: container.inherited.timer_slack,
            thp_disabled: container.inherited.thp_disabled,
            limits: &self.limits.set,
            seccomp: self.seccomp.as_deref().map(Filter::plan),
            uid: self.user.uid,
            gid: self.user.gid,
            groups: &self.user.additional_gids,
            setgroups_denied: container.setgroups_denied,
            capabilities: self.capabilities,
            last_capability: container.last_capability,
        }
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

    /// What can still be done when a fork was refused (EAGAIN): at first to count the command only, then, where
    /// the user has its limit (RLIMIT_NPROC), to become that user only after the fork. False where nothing is left.
    pub fn give_way(&mut self) -> Result<bool, Error> {
        match (self.counted, self.late) {
            (Counted::Both, _) => {
                self.counted = Counted::Command;
                self.late |= !self.can_wait;
            }
            (Counted::Command, false) => self.late = true,
            (Counted::Command, true) => return Ok(false),
        }
        // The attempt before has used them up.
        let leaf = Placed::of(self.tree.as_ref(), view::is_root(self.container));
        let (cgroups, moved) = (&self.container.cgroups, self.moved.as_deref());
        self.places = Places::open(cgroups, leaf, moved, self.counted)?;
        Ok(true)
    }
}

/// What the command reads.
fn packed(
    spec: &spec::Process,
    runtime: Family,
    terminal: bool,
    seccomp: Option<&Filter>,
    unexecuted: Option<i32>,
) -> Result<Packed, Error> {
    let command = spec.args.first().map(String::as_str).unwrap_or_default();
    let (envp, home) = process::environment(&spec.env, runtime)?;
    let argv = spec
        .args
        .iter()
        .map(|argument| c_string("argument", argument))
        .collect::<Result<Vec<CString>, _>>()?;
    Packed::new(&Parts {
        terminal,
        cwd: &c_string("cwd", &spec.cwd)?,
        seccomp: seccomp.filter(|_| spec.no_new_privileges).map(Filter::plan),
        lookup: &process::lookup(command, &envp)?,
        argv: &argv,
        envp: &envp,
        home,
        unexecuted,
    })
}

/// The limits of a process of `spec` that asks for `rlimits`.
fn limits(
    container: &Container,
    spec: &spec::Process,
    rlimits: &[spec::Rlimit],
) -> Result<rlimit::Steps, Error> {
    let limits = rlimit::of(0);
    let own = rlimit::given(&limits, container.files_given);
    let inherited = match container.inherited.runtime.is_crun() {
        true => container.inherited.limits.clone(),
        false => rlimit::before_go(&container.inherited.limits, &own),
    };
    let base = match spec.rlimits.as_slice() {
        [] => inherited,
        // All in place of all: what the container's process has of its own is not the runtime's to give.
        _ => rlimit::without(&inherited, &container.process.spec.rlimits, &own),
    };
    Ok(rlimit::Steps::new(&limits, rlimit::with(&base, rlimits)?))
}

/// The tree, where one is asked for, and the cgroups.
fn placed(
    container: &Container,
    moved: Option<&Path>,
    counted: Counted,
    tree: bool,
) -> Result<(Option<Tree>, Places), Error> {
    let cgroups = &container.cgroups;
    let is_root = view::is_root(container);
    let mut tree = tree.then(|| Tree::new(cgroups, moved, is_root));
    let open = |leaf: Option<Placed<'_>>| Places::open(cgroups, leaf, moved, counted);
    let places = match (open(Placed::of(tree.as_ref(), is_root)), &mut tree) {
        // Who may write to the container's cgroups can remove it.
        (Err(error), Some(tree)) if tree.leaf().is_some() => {
            tree.lose_leaf(error.to_string());
            open(None)?
        }
        (places, _) => places?,
    };
    Ok((tree, places))
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

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string())
}
