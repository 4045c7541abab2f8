//! The machine: state and event to actions.

use super::event::{Abort, Action, Cause, Event, HookKind, Phase, Skip, Termination};
use super::settings::{HookTiming, Settings, Timing};
use super::timers::{self, HookDeadline};
use super::{Limit, Time};

/// The state of one container's life.
#[derive(Debug, Clone)]
pub struct Sequence {
    pub(super) settings: Settings,
    /// The latest time seen: a clock that goes backwards changes nothing.
    pub(super) now: Time,
    pub(super) phase: Phase,
    start: Start,
    pub(super) hook: Option<RunningHook>,
    termination: Option<Termination>,
    /// A stop signal or a failed postStart has begun the kill sequence; a plain SIGKILL does not.
    stopping: bool,
    /// What Start will be answered with, once postStart has failed.
    failure: Option<Cause>,
    /// When the sequence sends SIGKILL, where it owns that.
    pub(super) kill_at: Option<Time>,
    /// When Start is answered although init is not gone.
    pub(super) answer_at: Option<Time>,
}

/// Start's way to its one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    NotAsked,
    Pending { rpc_deadline: Option<Time> },
    Answered,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct RunningHook {
    pub(super) kind: HookKind,
    pub(super) deadline: HookDeadline,
}

/// What begins the kill sequence.
struct Stop {
    signal: i32,
    paused: bool,
    /// Kill waits for its answer: a signal that goes out now is that Kill's own.
    by_client: bool,
    /// Start fails with this.
    failure: Option<Cause>,
}

impl Sequence {
    /// The life of a container that has been created.
    pub fn new(settings: Settings) -> Sequence {
        Sequence {
            settings,
            now: Time::ZERO,
            phase: Phase::Created,
            start: Start::NotAsked,
            hook: None,
            termination: None,
            stopping: false,
            failure: None,
            kill_at: None,
            answer_at: None,
        }
    }

    /// What an event at `now` leads to; whatever was due by then happens too.
    pub fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut actions = Vec::new();
        match event {
            Event::Started { rpc_deadline } => self.started(rpc_deadline, &mut actions),
            Event::HookDone { hook, succeeded } => self.hook_done(hook, succeeded, &mut actions),
            Event::Kill { signal, paused } => self.kill_requested(signal, paused, &mut actions),
            Event::InitExited => self.init_exited(&mut actions),
            Event::Timer => {}
        }
        self.fire_due(&mut actions);
        actions
    }

    /// Where the container is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether Start was asked and is not answered yet.
    pub fn is_start_pending(&self) -> bool {
        matches!(self.start, Start::Pending { .. })
    }

    /// How the container is being ended.
    pub fn termination(&self) -> Option<&Termination> {
        self.termination.as_ref()
    }

    fn started(&mut self, rpc_deadline: Option<Time>, actions: &mut Vec<Action>) {
        if self.start != Start::NotAsked {
            return;
        }
        self.start = Start::Pending { rpc_deadline };
        if self.phase == Phase::Stopped {
            return self.reply_started(actions);
        }
        let limits = self.settings.lifecycle.as_ref().and_then(|timing| {
            timing.post_start.map(|hook| {
                timers::post_start(self.now, hook, timing.post_start_timeout, rpc_deadline)
            })
        });
        let Some(deadline) = limits else {
            self.phase = Phase::Running;
            return self.reply_started(actions);
        };
        self.phase = Phase::PostStart;
        if deadline.at <= self.now {
            actions.push(Action::SkipHook(HookKind::PostStart, Skip::NoTime));
            self.post_start_failed(Cause::Aborted(deadline.abort()), actions);
        } else {
            self.hook = Some(RunningHook {
                kind: HookKind::PostStart,
                deadline,
            });
            actions.push(Action::RunHook(HookKind::PostStart));
        }
    }

    fn hook_done(&mut self, kind: HookKind, succeeded: bool, actions: &mut Vec<Action>) {
        if self.hook.is_none_or(|hook| hook.kind != kind) {
            return;
        }
        self.hook = None;
        match kind {
            HookKind::PostStart if succeeded => {
                self.phase = Phase::Running;
                self.reply_started(actions);
            }
            HookKind::PostStart => self.post_start_failed(Cause::HookFailed, actions),
            HookKind::PreStop => self.send_stop_signal(false, actions),
        }
    }

    fn post_start_failed(&mut self, cause: Cause, actions: &mut Vec<Action>) {
        let ignored = self
            .timing()
            .and_then(|timing| timing.post_start)
            .is_some_and(|hook| hook.ignore_failure);
        if ignored {
            self.phase = Phase::Running;
            return self.reply_started(actions);
        }
        let stop = Stop {
            signal: libc::SIGTERM,
            paused: false,
            by_client: false,
            failure: Some(cause),
        };
        self.begin_stop(stop, actions);
    }

    fn kill_requested(&mut self, signal: i32, paused: bool, actions: &mut Vec<Action>) {
        let in_life = !matches!(self.phase, Phase::Created | Phase::Stopped);
        let Some(timing) = self.timing().filter(|_| in_life) else {
            return actions.push(Action::Deliver(signal));
        };
        if signal == libc::SIGKILL {
            return self.sigkill_requested(actions);
        }
        if !is_stop_signal(signal, timing, self.settings.cri) {
            return actions.push(Action::Deliver(signal));
        }
        match self.phase {
            Phase::PostStart => {
                let abort = Abort::Signal(signal);
                self.abort_hook(abort, actions);
                let stop = Stop {
                    signal,
                    paused,
                    by_client: true,
                    failure: Some(Cause::Aborted(abort)),
                };
                self.begin_stop(stop, actions);
            }
            Phase::Running => {
                self.begin_stop(
                    Stop {
                        signal,
                        paused,
                        by_client: true,
                        failure: None,
                    },
                    actions,
                );
            }
            // containerd repeats the stop signal after its own restart.
            _ if self.stopping => {}
            _ => actions.push(Action::Deliver(signal)),
        }
    }

    /// SIGKILL by the client: first of all delivered, whatever runs.
    fn sigkill_requested(&mut self, actions: &mut Vec<Action>) {
        actions.push(Action::Deliver(libc::SIGKILL));
        self.abort_hook(Abort::Killed, actions);
        let now = self.now;
        let termination = self.termination.get_or_insert(Termination {
            requested_at: now,
            signal: libc::SIGKILL,
            grace: Time::ZERO,
            signalled_at: None,
            killed_at: None,
        });
        termination.killed_at.get_or_insert(now);
        self.phase = Phase::Killed;
        // Where only the client's SIGKILL ends postStart, Start is to succeed as for any short-lived
        // process: the longer wait is for a large process that takes its time to die.
        let patience = if self.failure.is_some() {
            timers::AFTER_KILL
        } else {
            timers::AFTER_CLIENT_KILL
        };
        self.answer_within(patience);
    }

    fn init_exited(&mut self, actions: &mut Vec<Action>) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.abort_hook(Abort::InitExited, actions);
        self.phase = Phase::Stopped;
        self.kill_at = None;
        self.answer_at = None;
        match self.failure {
            Some(cause) => self.reply_failed(cause, actions),
            None => self.reply_started(actions),
        }
    }

    fn begin_stop(&mut self, stop: Stop, actions: &mut Vec<Action>) {
        let Some(timing) = &self.settings.lifecycle else {
            return;
        };
        let (t0, grace, pre_stop) = (self.now, timing.grace, timing.pre_stop);
        let (mut end, mut limit) = (t0.saturating_add(grace), Limit::GracePeriod);
        let fails_start = stop.failure.is_some();
        if fails_start
            && let Start::Pending {
                rpc_deadline: Some(deadline),
            } = self.start
        {
            let latest = t0.max(deadline.saturating_sub(timers::RESERVE));
            if latest < end {
                (end, limit) = (latest, Limit::RpcDeadline);
            }
        }
        // A container that never got to run is nobody's but ours: no CRI client counts its grace.
        let owned = fails_start || !self.settings.cri || timing.grace_is_ours;
        self.kill_at = owned.then_some(end);
        self.stopping = true;
        self.failure = stop.failure;
        self.termination = Some(Termination {
            requested_at: t0,
            signal: timing.stop_signal.unwrap_or(stop.signal),
            grace,
            signalled_at: None,
            killed_at: None,
        });
        let run =
            pre_stop.and_then(|hook| self.admit_pre_stop(hook, end, limit, stop.paused, actions));
        match run {
            Some(deadline) => {
                self.phase = Phase::PreStop;
                self.hook = Some(RunningHook {
                    kind: HookKind::PreStop,
                    deadline,
                });
                actions.push(Action::RunHook(HookKind::PreStop));
            }
            // SIGKILL is due in this same step: a signal before it would be lost on the process.
            None if owned && end <= t0 => {}
            None => self.send_stop_signal(stop.by_client, actions),
        }
    }

    /// The deadline of preStop, or none where it is skipped.
    fn admit_pre_stop(
        &self,
        hook: HookTiming,
        end: Time,
        limit: Limit,
        paused: bool,
        actions: &mut Vec<Action>,
    ) -> Option<HookDeadline> {
        let deadline = timers::pre_stop(self.now, hook, end, limit);
        let skip = if limit == Limit::GracePeriod && end <= self.now {
            Skip::ZeroGrace
        } else if paused {
            Skip::Paused
        } else if deadline.at <= self.now {
            Skip::NoTime
        } else {
            return Some(deadline);
        };
        actions.push(Action::SkipHook(HookKind::PreStop, skip));
        None
    }

    pub(super) fn send_stop_signal(&mut self, by_client: bool, actions: &mut Vec<Action>) {
        let Some(termination) = &mut self.termination else {
            return;
        };
        termination.signalled_at = Some(self.now);
        self.phase = Phase::Signalled;
        actions.push(if by_client {
            Action::Deliver(termination.signal)
        } else {
            Action::Signal(termination.signal)
        });
    }

    pub(super) fn abort_hook(&mut self, abort: Abort, actions: &mut Vec<Action>) {
        if let Some(hook) = self.hook.take() {
            actions.push(Action::AbortHook(hook.kind, abort));
        }
    }

    /// A hook ran into its deadline.
    pub(super) fn hook_timed_out(&mut self, hook: RunningHook, actions: &mut Vec<Action>) {
        let abort = hook.deadline.abort();
        self.abort_hook(abort, actions);
        match hook.kind {
            HookKind::PostStart => self.post_start_failed(Cause::Aborted(abort), actions),
            HookKind::PreStop => self.send_stop_signal(false, actions),
        }
    }

    /// t0 + G: the sequence's own SIGKILL.
    pub(super) fn grace_ended(&mut self, actions: &mut Vec<Action>) {
        self.kill_at = None;
        self.abort_hook(Abort::Killed, actions);
        if let Some(termination) = &mut self.termination {
            termination.killed_at.get_or_insert(self.now);
        }
        self.phase = Phase::Killed;
        actions.push(Action::Kill);
        self.answer_within(timers::AFTER_KILL);
    }

    /// Init is still there after SIGKILL; Start waits no longer.
    pub(super) fn answer_due(&mut self, actions: &mut Vec<Action>) {
        self.answer_at = None;
        let cause = self.failure.unwrap_or(Cause::Aborted(Abort::Killed));
        self.reply_failed(cause, actions);
    }

    fn answer_within(&mut self, patience: Time) {
        if let Start::Pending { rpc_deadline } = self.start {
            let at = timers::answer(self.now, patience, rpc_deadline);
            self.answer_at = Some(self.answer_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    fn reply_started(&mut self, actions: &mut Vec<Action>) {
        self.reply(Action::ReplyStarted, actions);
    }

    fn reply_failed(&mut self, cause: Cause, actions: &mut Vec<Action>) {
        self.reply(Action::ReplyFailed(cause), actions);
    }

    fn reply(&mut self, reply: Action, actions: &mut Vec<Action>) {
        if self.is_start_pending() {
            self.start = Start::Answered;
            self.answer_at = None;
            actions.push(reply);
        }
    }

    fn timing(&self) -> Option<&Timing> {
        self.settings.lifecycle.as_ref()
    }
}

/// Whether Kill with this signal means "stop". CRI has no other use for Kill. Signal 0 only asks
/// whether the process is there, and numbers beyond the last signal are for the runtime to refuse.
fn is_stop_signal(signal: i32, timing: &Timing, cri: bool) -> bool {
    if !(1..=crate::signal::SIGRTMAX).contains(&signal) || signal == libc::SIGKILL {
        return false;
    }
    const SIGRTMIN_3: i32 = crate::signal::SIGRTMIN + 3;
    cri || matches!(
        signal,
        libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | SIGRTMIN_3
    ) || timing.stop_signal == Some(signal)
        || timing.stop_signals.contains(&signal)
}
