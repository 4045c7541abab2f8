//! When things are due.

use std::time::Duration;

use super::Time;
use super::event::{Abort, Action, Limit};
use super::machine::{Life, RunningHook};
use super::settings::HookTiming;

/// Kept free at the end of every window: for the stop signal to work (the kubelet's minimum), and
/// before the deadline of Start for SIGKILL and the answer.
pub(super) const RESERVE: Duration = Duration::from_secs(2);
/// How long Start waits for init to go after the sequence's SIGKILL.
pub(super) const AFTER_KILL: Duration = Duration::from_secs(1);
/// How long Start waits for init to go after the client's SIGKILL.
pub(super) const AFTER_CLIENT_KILL: Duration = Duration::from_secs(10);

/// How long what follows from a hook's end waits for a hook that was ended: it is dead in a moment, unless it is frozen
/// or the kernel holds it. And for the result of one that has ended by itself: past its deadline, if need be.
pub(super) const RESULT: Duration = Duration::from_secs(1);
/// How long the answer of a failed Start waits for what its hook has printed.
pub(super) const OUTPUT: Duration = Duration::from_secs(1);
/// How long a failed hook waits for the end of an init that is on its way out: the processes of its pid namespace die
/// first, and what is left of a shared one is killed before its end is told.
pub(super) const INIT_END: Duration = Duration::from_secs(10);

/// Until when a hook may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HookDeadline {
    pub(super) at: Time,
    pub(super) limit: Limit,
    /// The time allowed.
    pub(super) after: Duration,
}

impl HookDeadline {
    pub(super) fn abort(&self) -> Abort {
        Abort::TimedOut {
            limit: self.limit,
            after: self.after,
        }
    }

    fn earliest(now: Time, limits: impl IntoIterator<Item = (Time, Limit)>) -> HookDeadline {
        let first = limits.into_iter().min_by_key(|(at, _)| *at);
        let (at, limit) = first.unwrap_or((now, Limit::NodeTimeout));
        HookDeadline {
            at,
            limit,
            after: at.saturating_sub(now),
        }
    }
}

/// The earliest of `timeoutSeconds`, the node's default where the hook has none, and Start's own
/// deadline less the reserve; of equal ones the first.
pub(super) fn post_start(
    now: Time,
    hook: HookTiming,
    node: Duration,
    rpc_deadline: Option<Time>,
) -> HookDeadline {
    let own = match hook.timeout {
        Some(timeout) => (now.saturating_add(timeout), Limit::Timeout),
        None => (now.saturating_add(node), Limit::NodeTimeout),
    };
    let rpc = rpc_deadline.map(|deadline| (deadline.saturating_sub(RESERVE), Limit::RpcDeadline));
    HookDeadline::earliest(now, [Some(own), rpc].into_iter().flatten())
}

/// The earliest of `timeoutSeconds` and the end of the window less the reserve: 2 s, or half of a
/// window of 4 s and less.
pub(super) fn pre_stop(now: Time, hook: HookTiming, end: Time, limit: Limit) -> HookDeadline {
    let window = end.saturating_sub(now);
    let usable = half_of(window).max(window.saturating_sub(RESERVE));
    let own = hook
        .timeout
        .map(|timeout| (now.saturating_add(timeout), Limit::Timeout));
    HookDeadline::earliest(
        now,
        [own, Some((now.saturating_add(usable), limit))]
            .into_iter()
            .flatten(),
    )
}

fn half_of(time: Duration) -> Duration {
    time.checked_div(2).unwrap_or_default()
}

/// When Start is answered at the latest: after `patience`, and before its deadline in any case (half
/// of what is left, so that the answer arrives).
pub(super) fn answer(now: Time, patience: Duration, rpc_deadline: Option<Time>) -> Time {
    let left = rpc_deadline.map_or(patience, |deadline| half_of(deadline.saturating_sub(now)));
    now.saturating_add(patience.min(left))
}

enum Due {
    Hook(RunningHook),
    Kill,
    Answer,
}

impl Life {
    /// When [`super::Event::Timer`] is to be sent; none while nothing is waited for. Always later than
    /// the latest time the machine has seen.
    pub(super) fn next_timer(&self) -> Option<Time> {
        let hook = self.hook.map(|hook| hook.deadline.at);
        [hook, self.kill_at, self.answer_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due, in the order it was due. Every turn clears one timer, and none is set for a
    /// hook twice: it ends.
    pub(super) fn fire_due(&mut self, actions: &mut Vec<Action>) {
        while let Some(due) = self.take_due() {
            match due {
                Due::Hook(hook) => self.hook_timed_out(hook, actions),
                Due::Kill => self.grace_ended(actions),
                Due::Answer => self.answer_due(actions),
            }
        }
    }

    fn take_due(&self) -> Option<Due> {
        let at = self.next_timer().filter(|at| *at <= self.now)?;
        match self.hook {
            Some(hook) if hook.deadline.at == at => Some(Due::Hook(hook)),
            _ if self.kill_at == Some(at) => Some(Due::Kill),
            _ => Some(Due::Answer),
        }
    }
}
