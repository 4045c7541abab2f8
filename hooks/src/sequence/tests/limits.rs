//! Section 3.6 and 4.1: which limit ends a hook, and when.

use super::super::Action::*;
use super::super::HookKind::*;
use super::*;

fn limit_of(actions: &[Action]) -> Option<(Limit, f64)> {
    actions.iter().find_map(|action| match action {
        AbortHook(_, Abort::TimedOut { limit, after }) => Some((*limit, after.as_secs_f64())),
        _ => None,
    })
}

#[test]
fn the_earliest_limit_ends_post_start_and_is_named() {
    let table = [
        // timeoutSeconds, node, the request's deadline → when, which
        (Some(30.0), 110.0, None, 30.0, Limit::Timeout),
        (Some(300.0), 110.0, None, 300.0, Limit::Timeout),
        (None, 110.0, None, 110.0, Limit::NodeTimeout),
        (None, 110.0, Some(120.0), 110.0, Limit::NodeTimeout),
        (None, 110.0, Some(60.0), 58.0, Limit::RpcDeadline),
        (Some(300.0), 110.0, Some(120.0), 118.0, Limit::RpcDeadline),
        (Some(58.0), 110.0, Some(60.0), 58.0, Limit::Timeout),
    ];
    for (timeout, node, deadline, at, limit) in table {
        let post_start = timeout.map_or(hook(), hook_with_timeout);
        let mut sequence = cri(Timing {
            post_start,
            post_start_timeout: secs(node),
            ..timing()
        });
        sequence.step(
            secs(1.0),
            Event::Started {
                rpc_deadline: deadline.map(|by: f64| secs(by + 1.0)),
            },
        );
        let (when, actions) = sequence.timer();
        assert_eq!(
            (when, limit_of(&actions)),
            (at + 1.0, Some((limit, at))),
            "{timeout:?} {deadline:?}"
        );
    }
}

#[test]
fn a_post_start_without_any_time_fails_without_running() {
    for deadline in [0.0, 4.0, 6.0, 7.0] {
        let mut sequence = cri(Timing {
            post_start: hook(),
            pre_stop: hook(),
            ..timing()
        });
        let skipped = [
            SkipHook(PostStart, Skip::NoTime),
            SkipHook(PreStop, Skip::NoTime),
            Sigkill,
        ];
        let actions = sequence.start_by(5.0, deadline);
        assert_eq!(actions[..3], skipped, "{deadline}");
        let cause = Cause::Aborted(Abort::TimedOut {
            limit: Limit::RpcDeadline,
            after: secs(0.0),
        });
        match deadline {
            7.0 => assert_eq!(sequence.timer(), (6.0, vec![ReplyFailed(cause)])),
            6.0 => assert_eq!(sequence.timer(), (5.5, vec![ReplyFailed(cause)])),
            _ => assert_eq!(actions[3..], [ReplyFailed(cause)]),
        }
    }
}

#[test]
fn post_start_at_its_requests_deadline_leaves_time_for_sigkill_only() {
    let mut sequence = cri(Timing {
        post_start: hook(),
        pre_stop: hook(),
        ..timing()
    });
    sequence.start_by(0.0, 60.0);
    let (at, actions) = sequence.timer();
    let abort = Abort::TimedOut {
        limit: Limit::RpcDeadline,
        after: secs(58.0),
    };
    assert_eq!(at, 58.0);
    assert_eq!(
        actions,
        [
            AbortHook(PostStart, abort),
            SkipHook(PreStop, Skip::NoTime),
            Sigkill
        ]
    );
    assert_eq!(sequence.termination().unwrap().signalled_at, None);
    assert_eq!(
        sequence.timer(),
        (59.0, vec![ReplyFailed(Cause::Aborted(abort))])
    );
}

#[test]
fn the_earliest_limit_ends_pre_stop_and_the_signal_keeps_its_time() {
    let table = [
        // timeoutSeconds, G → when, which
        (None, 30.0, 28.0, Limit::GracePeriod),
        (Some(20.0), 30.0, 20.0, Limit::Timeout),
        (Some(29.0), 30.0, 28.0, Limit::GracePeriod),
        (Some(28.0), 30.0, 28.0, Limit::Timeout),
        (None, 5.0, 3.0, Limit::GracePeriod),
        (None, 4.0, 2.0, Limit::GracePeriod),
        (None, 3.0, 1.5, Limit::GracePeriod),
        (None, 1.0, 0.5, Limit::GracePeriod),
    ];
    for (timeout, grace, at, limit) in table {
        let pre_stop = timeout.map_or(hook(), hook_with_timeout);
        let timing = Timing {
            pre_stop,
            grace: secs(grace),
            ..timing()
        };
        for mut sequence in [running(cri(timing.clone())), running(plain(timing))] {
            assert_eq!(sequence.kill(10.0, TERM), [RunHook(PreStop)]);
            let (when, actions) = sequence.timer();
            assert_eq!(
                (when, limit_of(&actions)),
                (at + 10.0, Some((limit, at))),
                "{timeout:?} {grace}"
            );
            assert_eq!(actions[1..], [SendStopSignal(TERM)]);
        }
    }
}

#[test]
fn a_late_timer_does_everything_that_was_due_in_order() {
    let mut sequence = running(plain(Timing {
        pre_stop: hook(),
        ..timing()
    }));
    sequence.kill(0.0, TERM);
    let abort = Abort::TimedOut {
        limit: Limit::GracePeriod,
        after: secs(28.0),
    };
    let actions = sequence.step(secs(100.0), Event::Timer);
    assert_eq!(
        actions,
        [AbortHook(PreStop, abort), SendStopSignal(TERM), Sigkill]
    );
}

#[test]
fn an_early_timer_and_a_clock_that_goes_back_change_nothing() {
    let mut sequence = running(plain(Timing {
        pre_stop: hook(),
        ..timing()
    }));
    sequence.kill(10.0, TERM);
    assert_eq!(sequence.step(secs(37.9), Event::Timer), []);
    assert_eq!(sequence.step(secs(0.0), Event::Timer), []);
    assert_eq!(sequence.next_timer(), Some(secs(38.0)));
    assert_eq!(sequence.done(1.0, PreStop, true), [SendStopSignal(TERM)]);
    assert_eq!(
        sequence.termination().unwrap().signalled_at,
        Some(secs(37.9))
    );
}

#[test]
fn the_end_of_time_is_reached_without_overflow() {
    let endless = Timing {
        post_start: Some(HookTiming {
            timeout: Some(Time::MAX),
            ignore_failure: false,
        }),
        pre_stop: Some(HookTiming {
            timeout: Some(Time::MAX),
            ignore_failure: false,
        }),
        grace: Time::MAX,
        post_start_timeout: Time::MAX,
        ..timing()
    };
    let mut sequence = plain(endless);
    assert_eq!(
        sequence.step(
            secs(1.0),
            Event::Started {
                rpc_deadline: Some(Time::MAX)
            }
        ),
        [RunHook(PostStart)]
    );
    let actions = sequence.step(Time::MAX, Event::Timer);
    assert!(
        matches!(actions.last(), Some(ReplyFailed(_))),
        "{actions:?}"
    );
    assert_eq!(sequence.next_timer(), None);
}

/// After a stop of the shim the deadline is long over when the end of the hook is seen.
#[test]
fn what_has_ended_does_not_run_into_its_deadline() {
    for seen in [29.0, 30.0, 500.0] {
        let mut sequence = cri(Timing {
            post_start: hook_with_timeout(30.0),
            ..timing()
        });
        assert_eq!(sequence.start(0.0), [RunHook(PostStart)]);
        assert_eq!(sequence.step(secs(seen), Event::HookOver(PostStart)), []);
        assert_eq!(sequence.step(secs(seen), Event::Timer), []);
        // Told again it has no more time.
        let again = f64::max(seen, 30.0) + 0.9;
        assert_eq!(sequence.step(secs(again), Event::HookOver(PostStart)), []);
        assert_eq!(
            sequence.clone().done(again, PostStart, true),
            [ReplyStarted]
        );
        let (when, actions) = sequence.timer();
        assert_eq!(when, f64::max(seen, 30.0) + 1.0);
        assert_eq!(limit_of(&actions), Some((Limit::Timeout, 30.0)));
    }
}

#[test]
fn what_has_ended_within_the_grace_period_is_not_killed_at_its_end() {
    let ended = || {
        let mut sequence = running(plain(timing()));
        assert_eq!(sequence.kill(0.0, TERM), [PassOn(TERM)]);
        assert_eq!(sequence.step(secs(40.0), Event::InitOver), []);
        assert_eq!(sequence.step(secs(40.0), Event::Timer), []);
        sequence
    };
    let mut sequence = ended();
    assert_eq!(sequence.exit(40.1), []);
    assert_eq!(sequence.termination().unwrap().killed_at, None);
    // It does not end after all.
    let mut sequence = ended();
    assert_eq!(sequence.step(secs(40.9), Event::InitOver), []);
    assert_eq!(sequence.timer(), (41.0, vec![Sigkill]));
}
