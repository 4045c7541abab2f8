//! The rules of the contract, one by one. Times are seconds.

mod kill;
mod limits;
mod results;
mod start;

use std::time::Duration;

use super::machine::Life;
use super::*;

pub(super) const TERM: i32 = libc::SIGTERM;

pub(super) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

pub(super) fn hook() -> Option<HookTiming> {
    Some(HookTiming {
        timeout: None,
        ignore_failure: false,
    })
}

pub(super) fn hook_with_timeout(seconds: f64) -> Option<HookTiming> {
    Some(HookTiming {
        timeout: Some(secs(seconds)),
        ignore_failure: false,
    })
}

/// No hooks, G = 30 s from the pod, the node's defaults.
pub(super) fn timing() -> Timing {
    Timing {
        post_start: None,
        pre_stop: None,
        stop_signal: None,
        own_stop_signal: None,
        grace: secs(30.0),
        grace_is_ours: false,
        stop_signals: Vec::new(),
        post_start_timeout: secs(110.0),
    }
}

pub(super) fn cri(timing: Timing) -> Life {
    Life::new(Settings {
        lifecycle: Some(timing),
        cri: true,
    })
}

pub(super) fn plain(timing: Timing) -> Life {
    Life::new(Settings {
        lifecycle: Some(timing),
        cri: false,
    })
}

pub(super) fn running(mut sequence: Life) -> Life {
    assert_eq!(sequence.start(0.0), [Action::ReplyStarted]);
    assert_eq!(sequence.phase(), Phase::Running);
    sequence
}

/// Short words for the tests.
impl Life {
    pub(super) fn start(&mut self, at: f64) -> Vec<Action> {
        self.step(secs(at), Event::Started { rpc_deadline: None })
    }

    pub(super) fn start_by(&mut self, at: f64, deadline: f64) -> Vec<Action> {
        self.step(
            secs(at),
            Event::Started {
                rpc_deadline: Some(secs(deadline)),
            },
        )
    }

    pub(super) fn done(&mut self, at: f64, hook: HookKind, succeeded: bool) -> Vec<Action> {
        self.step(
            secs(at),
            Event::HookEnded {
                hook,
                succeeded,
                init_ending: false,
            },
        )
    }

    pub(super) fn kill(&mut self, at: f64, signal: i32) -> Vec<Action> {
        self.step(
            secs(at),
            Event::KillRequested {
                signal,
                paused: false,
            },
        )
    }

    pub(super) fn exit(&mut self, at: f64) -> Vec<Action> {
        self.step(secs(at), Event::InitExited)
    }

    /// The next timer, at its time: when, and what it did.
    pub(super) fn timer(&mut self) -> (f64, Vec<Action>) {
        let at = self.next_timer().expect("a timer");
        (at.as_secs_f64(), self.step(at, Event::Timer))
    }
}
