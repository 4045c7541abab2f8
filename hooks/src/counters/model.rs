//! The numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::handler::HookRun;
use crate::lifecycle::HandlerKind;
use crate::sequence::{HookKind, Termination};

/// The upper bounds of the duration histogram, ms.
const BOUNDS: [u64; 11] = [
    5, 10, 50, 100, 500, 1000, 5000, 10_000, 30_000, 60_000, 120_000,
];

/// Why an exec went through the OCI runtime. Few and fixed: they become labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallbackReason {
    /// The engine cannot do what the container or the exec needs.
    Unsupported,
    /// The node's configuration says `exec = "runtime"`.
    Configured,
}

impl FallbackReason {
    /// By the reason as the shim words it.
    pub fn of(reason: &str) -> Self {
        match reason {
            _ if reason.starts_with("exec = ") => Self::Configured,
            _ => Self::Unsupported,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Configured => "configured",
        }
    }
}

/// How a container with a lifecycle came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By itself: no stop was asked for.
    Exited,
    /// While its preStop hook ran, before the stop signal.
    PreStop,
    /// After the stop signal.
    Signalled,
    /// By the shim's SIGKILL at the end of the grace period.
    GraceKilled,
    /// By a client's SIGKILL; for CRI containers also that at the end of the grace period.
    ClientKilled,
}

impl How {
    pub const ALL: [Self; 5] = [
        Self::Exited,
        Self::PreStop,
        Self::Signalled,
        Self::GraceKilled,
        Self::ClientKilled,
    ];

    /// Read off the sequence when init has exited; `own_kill`: the sequence has sent SIGKILL itself.
    pub fn of(termination: Option<&Termination>, own_kill: bool) -> Self {
        match termination {
            None => Self::Exited,
            Some(_) if own_kill => Self::GraceKilled,
            Some(t) if t.killed_at.is_some() => Self::ClientKilled,
            Some(t) if t.signalled_at.is_some() => Self::Signalled,
            Some(_) => Self::PreStop,
        }
    }

    /// The key in [`Counters::terminations`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Exited => "Exited",
            Self::PreStop => "PreStop",
            Self::Signalled => "Signalled",
            Self::GraceKilled => "GraceKilled",
            Self::ClientKilled => "ClientKilled",
        }
    }
}

/// Everything a shim counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Processes of the Exec RPC made by the engine.
    pub execs_native: u64,
    /// Those made by the OCI runtime, by [`FallbackReason`].
    pub execs_runtime: BTreeMap<String, u64>,
    /// Those that could not be made.
    pub execs_failed: u64,
    /// By hook (`postStart`), then handler (`exec`).
    pub hooks: BTreeMap<String, BTreeMap<String, Hooks>>,
    /// Ends of containers with a lifecycle, by [`How`].
    pub terminations: BTreeMap<String, u64>,
}

/// The runs of one hook with one handler.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// By result (`Succeeded`).
    pub results: BTreeMap<String, u64>,
    /// Runs that took up to so many ms, and longer than the next smaller bound; [`u64::MAX`]: longer
    /// than all. Skipped hooks are in no bucket.
    pub buckets: BTreeMap<u64, u64>,
    /// Wall time of all runs, µs.
    pub duration_usec: u64,
    /// User CPU time of all runs, µs.
    pub cpu_user_usec: u64,
    /// System CPU time of all runs, µs.
    pub cpu_system_usec: u64,
}

impl Counters {
    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The OCI runtime has made an exec's process.
    pub fn exec_by_runtime(&mut self, why: FallbackReason) {
        increment(&mut self.execs_runtime, why.name(), 1);
    }

    /// A hook has ended with this result.
    pub fn hook_ended(
        &mut self,
        hook: HookKind,
        handler: HandlerKind,
        verdict: &str,
        run: &HookRun,
    ) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let hooks = self.hooks_mut(hook, handler);
        increment(&mut hooks.results, verdict, 1);
        let took = micros(run.took);
        let bound = BOUNDS
            .into_iter()
            .find(|ms| took <= ms.saturating_mul(1000));
        let bucket = hooks.buckets.entry(bound.unwrap_or(u64::MAX)).or_default();
        *bucket = bucket.saturating_add(1);
        hooks.duration_usec = hooks.duration_usec.saturating_add(took);
        hooks.cpu_user_usec = hooks.cpu_user_usec.saturating_add(micros(run.cpu_user));
        hooks.cpu_system_usec = hooks.cpu_system_usec.saturating_add(micros(run.cpu_system));
    }

    /// A hook did not run.
    pub fn hook_skipped(&mut self, hook: HookKind, handler: HandlerKind) {
        increment(&mut self.hooks_mut(hook, handler).results, "Skipped", 1);
    }

    /// The engine has made a process of the Exec RPC.
    pub fn exec_native(&mut self) {
        self.execs_native = self.execs_native.saturating_add(1);
    }

    /// One could not be made.
    pub fn exec_failed(&mut self) {
        self.execs_failed = self.execs_failed.saturating_add(1);
    }

    /// A container with a lifecycle has ended.
    pub fn terminated(&mut self, how: How) {
        increment(&mut self.terminations, how.name(), 1);
    }

    /// Adds what another shim has counted.
    pub fn add(&mut self, other: &Self) {
        self.execs_native = self.execs_native.saturating_add(other.execs_native);
        self.execs_failed = self.execs_failed.saturating_add(other.execs_failed);
        add(&mut self.execs_runtime, &other.execs_runtime);
        add(&mut self.terminations, &other.terminations);
        for (hook, handlers) in &other.hooks {
            let own = self.hooks.entry(hook.clone()).or_default();
            for (handler, runs) in handlers {
                own.entry(handler.clone()).or_default().add(runs);
            }
        }
    }

    fn hooks_mut(&mut self, hook: HookKind, handler: HandlerKind) -> &mut Hooks {
        let handlers = self.hooks.entry(hook.to_string()).or_default();
        handlers.entry(handler.to_string()).or_default()
    }
}

impl Hooks {
    /// How many runs took up to each bound, s; the last is that of all runs.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let mut all = self.buckets.clone();
        for bound in BOUNDS {
            all.entry(bound).or_default();
        }
        all.entry(u64::MAX).or_default();
        let mut runs: u64 = 0;
        let bucket = |(bound, count): (u64, u64)| {
            runs = runs.saturating_add(count);
            let seconds = if bound == u64::MAX {
                f64::INFINITY
            } else {
                bound as f64 / 1000.0
            };
            (seconds, runs)
        };
        all.into_iter().map(bucket).collect()
    }

    fn add(&mut self, other: &Self) {
        add(&mut self.results, &other.results);
        for (bound, count) in &other.buckets {
            let bucket = self.buckets.entry(*bound).or_default();
            *bucket = bucket.saturating_add(*count);
        }
        self.duration_usec = self.duration_usec.saturating_add(other.duration_usec);
        self.cpu_user_usec = self.cpu_user_usec.saturating_add(other.cpu_user_usec);
        self.cpu_system_usec = self.cpu_system_usec.saturating_add(other.cpu_system_usec);
    }
}

fn increment(counts: &mut BTreeMap<String, u64>, key: &str, by: u64) {
    match counts.get_mut(key) {
        Some(count) => *count = count.saturating_add(by),
        None => {
            counts.insert(key.to_owned(), by);
        }
    }
}

fn add(own: &mut BTreeMap<String, u64>, other: &BTreeMap<String, u64>) {
    for (key, count) in other {
        increment(own, key, *count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::Outcome;
    use crate::moment::Moment;

    fn run(milliseconds: u64) -> HookRun {
        let mut run = HookRun::new(Outcome::Succeeded, Moment::now());
        run.took = Duration::from_millis(milliseconds);
        run.cpu_user = Duration::from_micros(300);
        run
    }

    #[test]
    fn buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() {
        let mut counters = Counters::default();
        for milliseconds in [0, 5, 6, 130_000] {
            counters.hook_ended(
                HookKind::PreStop,
                HandlerKind::Exec,
                "Succeeded",
                &run(milliseconds),
            );
        }
        let hooks = &counters.hooks["preStop"]["exec"];
        let cumulative = hooks.cumulative();
        assert_eq!(cumulative.len(), BOUNDS.len() + 1);
        assert_eq!(cumulative[..2], [(0.005, 2), (0.01, 3)]);
        assert_eq!(cumulative[10..], [(120.0, 3), (f64::INFINITY, 4)]);
        assert_eq!(
            (hooks.duration_usec, hooks.cpu_user_usec),
            (130_011_000, 1200)
        );
    }

    #[test]
    fn a_skipped_hook_has_no_duration() {
        let mut counters = Counters::default();
        counters.hook_skipped(HookKind::PreStop, HandlerKind::Sleep);
        let hooks = &counters.hooks["preStop"]["sleep"];
        assert_eq!(hooks.results["Skipped"], 1);
        assert_eq!(hooks.cumulative().last(), Some(&(f64::INFINITY, 0)));
    }

    #[test]
    fn sums_are_those_of_one_shim_that_did_it_all() {
        let (mut one, mut two, mut all) = <(Counters, Counters, Counters)>::default();
        for counters in [&mut one, &mut all] {
            counters.execs_native += 2;
            counters.exec_by_runtime(FallbackReason::Unsupported);
            counters.hook_ended(HookKind::PreStop, HandlerKind::Exec, "Failed", &run(7));
        }
        for counters in [&mut two, &mut all] {
            counters.exec_by_runtime(FallbackReason::Unsupported);
            counters.execs_failed += 1;
            counters.hook_ended(HookKind::PreStop, HandlerKind::Exec, "Succeeded", &run(9));
            counters.hook_skipped(HookKind::PostStart, HandlerKind::Sleep);
            counters.terminated(How::Signalled);
        }
        let json = serde_json::to_string(&two).unwrap();
        one.add(&serde_json::from_str(&json).unwrap());
        assert_eq!(one, all);
    }

    #[test]
    fn every_reason_of_the_shim_has_its_label() {
        for (reason, label) in [
            ("exec = \"runtime\"", "configured"),
            (
                "not supported by the exec engine: seccomp notify",
                "unsupported",
            ),
            ("open /proc/7/ns/net: permission denied", "unsupported"),
        ] {
            assert_eq!(FallbackReason::of(reason).name(), label, "{reason}");
        }
    }

    #[test]
    fn the_end_is_read_off_the_termination() {
        let none = Termination {
            requested_at: Duration::ZERO,
            signal: libc::SIGTERM,
            grace: Duration::from_secs(30),
            signalled_at: None,
            killed_at: None,
        };
        let signalled = Termination {
            signalled_at: Some(Duration::from_secs(1)),
            ..none
        };
        let killed = Termination {
            killed_at: Some(Duration::from_secs(2)),
            ..signalled
        };
        assert_eq!(How::of(None, false), How::Exited);
        assert_eq!(How::of(Some(&none), false), How::PreStop);
        assert_eq!(How::of(Some(&signalled), false), How::Signalled);
        assert_eq!(How::of(Some(&killed), false), How::ClientKilled);
        assert_eq!(How::of(Some(&killed), true), How::GraceKilled);
    }
}
