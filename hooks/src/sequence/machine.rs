//! The decisions: which hook runs, when signals go out, and how Start is answered. What has to wait for the result of
//! a hook, waits in [`super::Sequence`].

use super::Time;
use super::event::{Abort, Action, Cause, Event, HookKind, Phase, Skip, Termination};
use super::settings::{Settings, Timing};
use super::timers::{self, HookDeadline};

/// The state of one container's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) settings: Settings,
    /// The latest time seen: a clock that goes backwards changes nothing.
    pub(super) now: Time,
    pub(super) phase: Phase,
    pub(super) start: Start,
    pub(super) hook: Option<RunningHook>,
    pub(super) termination: Option<Termination>,
    /// A stop signal or a failed postStart has begun the kill sequence; a plain SIGKILL does not.
    pub(super) stopping: bool,
    /// What Start will be answered with, once postStart has failed.
    pub(super) failure: Option<Cause>,
    /// The last signal that was delivered untouched, and when: it may have been meant as a stop.
    pub(super) untouched: Option<(Time, i32)>,
    /// When the sequence sends SIGKILL, where it owns that.
    pub(super) kill_at: Option<Time>,
    /// Init has ended, or is about to.
    pub(super) init_over: bool,
    /// When Start is answered although init is not gone.
    pub(super) answer_at: Option<Time>,
}

/// Start's way to its one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    NotAsked,
    Pending { rpc_deadline: Option<Time> },
    Answered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunningHook {
    pub(super) kind: HookKind,
    pub(super) deadline: HookDeadline,
    /// It has done its work, and its result is on the way.
    pub(super) over: bool,
}

/// What begins the kill sequence.
pub(super) struct Stop {
    pub(super) signal: i32,
    pub(super) paused: bool,
    /// Kill waits for its answer: a signal that goes out now is that Kill's own.
    pub(super) by_client: bool,
    /// Start fails with this.
    pub(super) failure: Option<Cause>,
}

impl Life {
    /// The life of a container that has been created.
    pub(super) fn new(settings: Settings) -> Life {
        Life {
            settings,
            now: Time::ZERO,
            phase: Phase::Created,
            start: Start::NotAsked,
            hook: None,
            termination: None,
            stopping: false,
            failure: None,
            untouched: None,
            kill_at: None,
            init_over: false,
            answer_at: None,
        }
    }

    /// What an event at `now` leads to; whatever was due by then happens too.
    pub(super) fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut actions = Vec::new();
        match event {
            Event::Started { rpc_deadline } => self.started(rpc_deadline, &mut actions),
            Event::HookEnded {
                hook, succeeded, ..
            } => self.hook_ended(hook, succeeded, &mut actions),
            Event::KillRequested { signal, paused } => {
                self.kill_requested(signal, paused, &mut actions)
            }
            Event::HookOver(kind) => self.hook_over(kind),
            Event::InitOver => self.init_over(),
            Event::InitExited => self.init_exited(&mut actions),
            Event::Timer | Event::ExitPublished => {}
        }
        self.fire_due(&mut actions);
        actions
    }

    /// Where the container is in its life.
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether this hook runs, as far as the machine is concerned.
    pub(super) fn runs(&self, kind: HookKind) -> bool {
        self.hook.is_some_and(|hook| hook.kind == kind)
    }

    /// Whether Start was asked and is not answered yet.
    pub(super) fn is_start_pending(&self) -> bool {
        matches!(self.start, Start::Pending { .. })
    }

    /// How the container is being ended.
    pub(super) fn termination(&self) -> Option<&Termination> {
        self.termination.as_ref()
    }

    fn hook_ended(&mut self, kind: HookKind, succeeded: bool, actions: &mut Vec<Action>) {
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

    /// What has ended does not run into its deadline, however late that is seen: only its result can be late.
    fn hook_over(&mut self, kind: HookKind) {
        let latest = self.now.saturating_add(timers::RESULT);
        if let Some(hook) = self.hook.as_mut().filter(|hook| hook.kind == kind)
            && !std::mem::replace(&mut hook.over, true)
        {
            hook.deadline.at = hook.deadline.at.saturating_add(timers::RESULT).max(latest);
        }
    }

    /// What has ended within the grace period is not killed at its end, and its hook runs into that, not into a deadline.
    fn init_over(&mut self) {
        let latest = self.now.saturating_add(timers::RESULT);
        if !std::mem::replace(&mut self.init_over, true) {
            self.kill_at = self.kill_at.map(|at| at.max(latest));
            if let Some(hook) = &mut self.hook {
                hook.deadline.at = hook.deadline.at.max(latest);
            }
        }
    }

    fn init_exited(&mut self, actions: &mut Vec<Action>) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.abort_hook(Abort::InitExited, actions);
        if let Some(skip) = self.missed_pre_stop() {
            actions.push(Action::SkipHook(HookKind::PreStop, skip));
        }
        self.phase = Phase::Stopped;
        self.kill_at = None;
        match self.failure {
            Some(cause) => self.reply_failed(cause, actions),
            None => self.reply_started(actions),
        }
    }

    /// A container that ends within its grace period after a signal was most likely stopped by it, or by the
    /// SIGKILL that `docker stop` sends after it: its preStop, if there is one, should have run.
    fn missed_pre_stop(&self) -> Option<Skip> {
        let timing = self.timing()?;
        let (at, signal) = self.untouched?;
        let missed = timing.pre_stop.is_some() && !self.stopping;
        (missed && self.now.saturating_sub(at) <= timing.grace).then_some(Skip::NotAStop(signal))
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

    pub(super) fn timing(&self) -> Option<&Timing> {
        self.settings.lifecycle.as_ref()
    }
}
