//! The start: postStart, and the one answer to Start.

use super::Time;
use super::event::{Abort, Action, Cause, HookKind, Phase, Skip};
use super::machine::{Life, RunningHook, Start, Stop};
use super::timers;

impl Life {
    pub(super) fn started(&mut self, rpc_deadline: Option<Time>, actions: &mut Vec<Action>) {
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
                over: false,
            });
            actions.push(Action::RunHook(HookKind::PostStart));
        }
    }

    /// `onFailure` decides. The container stops as on a SIGTERM: no client's signal is at hand.
    pub(super) fn post_start_failed(&mut self, cause: Cause, actions: &mut Vec<Action>) {
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

    /// Init is still there after SIGKILL; Start waits no longer.
    pub(super) fn answer_due(&mut self, actions: &mut Vec<Action>) {
        self.answer_at = None;
        let cause = self.failure.unwrap_or(Cause::Aborted(Abort::Killed));
        self.reply_failed(cause, actions);
    }

    /// SIGKILL is out: init gets this long to go before Start is answered without that.
    pub(super) fn answer_within(&mut self, patience: Time) {
        if let Start::Pending { rpc_deadline } = self.start {
            let at = timers::answer(self.now, patience, rpc_deadline);
            self.answer_at = Some(self.answer_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    pub(super) fn reply_started(&mut self, actions: &mut Vec<Action>) {
        self.reply(Action::ReplyStarted, actions);
    }

    pub(super) fn reply_failed(&mut self, cause: Cause, actions: &mut Vec<Action>) {
        self.reply(Action::ReplyFailed(cause), actions);
    }

    /// Start has one answer.
    fn reply(&mut self, reply: Action, actions: &mut Vec<Action>) {
        if self.is_start_pending() {
            self.start = Start::Answered;
            self.answer_at = None;
            actions.push(reply);
        }
    }
}
