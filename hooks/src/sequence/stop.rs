//! The end: Kill, preStop, the stop signal and SIGKILL.

use super::Time;
use super::event::{Abort, Action, Cause, HookKind, Limit, Phase, Skip, Termination};
use super::machine::{Life, RunningHook, Start, Stop};
use super::settings::{HookTiming, Timing};
use super::timers::{self, HookDeadline};

impl Life {
    pub(super) fn kill_requested(&mut self, signal: i32, paused: bool, actions: &mut Vec<Action>) {
        let in_life = !matches!(self.phase, Phase::Created | Phase::Stopped);
        let Some(timing) = self.timing().filter(|_| in_life) else {
            return actions.push(Action::PassOn(signal));
        };
        if signal == libc::SIGKILL {
            return self.sigkill_requested(actions);
        }
        if !is_stop_signal(signal, timing, self.settings.cri) {
            if is_signal(signal) {
                self.untouched = Some((self.now, signal));
            }
            return actions.push(Action::PassOn(signal));
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
            _ => actions.push(Action::PassOn(signal)),
        }
    }

    /// SIGKILL by the client is delivered at once, also while a hook runs.
    fn sigkill_requested(&mut self, actions: &mut Vec<Action>) {
        actions.push(Action::PassOn(libc::SIGKILL));
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

    pub(super) fn begin_stop(&mut self, stop: Stop, actions: &mut Vec<Action>) {
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
        // A container that never reached Running is ended by the shim: no CRI client counts its grace period.
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
                    over: false,
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
            Action::PassOn(termination.signal)
        } else {
            Action::SendStopSignal(termination.signal)
        });
    }

    /// t0 + G: the sequence's own SIGKILL.
    pub(super) fn grace_ended(&mut self, actions: &mut Vec<Action>) {
        self.kill_at = None;
        self.abort_hook(Abort::Killed, actions);
        if let Some(termination) = &mut self.termination {
            termination.killed_at.get_or_insert(self.now);
        }
        self.phase = Phase::Killed;
        actions.push(Action::Sigkill);
        self.answer_within(timers::AFTER_KILL);
    }
}

/// Signal 0 only asks whether the process is there, and numbers beyond the last signal are for the runtime
/// to refuse.
fn is_signal(number: i32) -> bool {
    (1..=crate::signal::SIGRTMAX).contains(&number)
}

/// Whether Kill with this signal means "stop". CRI has no other use for Kill.
fn is_stop_signal(signal: i32, timing: &Timing, cri: bool) -> bool {
    if !is_signal(signal) || signal == libc::SIGKILL {
        return false;
    }
    const SIGRTMIN_3: i32 = crate::signal::SIGRTMIN + 3;
    cri || matches!(
        signal,
        libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | SIGRTMIN_3
    ) || timing.stop_signal == Some(signal)
        || timing.own_stop_signal == Some(signal)
        || timing.stop_signals.contains(&signal)
}
