//! Section 3: postStart and the blocking Running transition.

use super::super::Action::*;
use super::super::HookKind::*;
use super::*;

fn with_post_start() -> Timing {
    Timing {
        post_start: hook(),
        ..timing()
    }
}

fn with_both() -> Timing {
    Timing {
        pre_stop: hook(),
        ..with_post_start()
    }
}

#[test]
fn without_post_start_start_is_answered_at_once() {
    for mut sequence in [cri(timing()), plain(timing())] {
        assert_eq!(sequence.start(1.0), [ReplyStarted]);
        assert_eq!(sequence.phase(), Phase::Running);
        assert_eq!(sequence.next_timer(), None);
    }
    let mut sequence = Life::new(Settings {
        lifecycle: None,
        cri: true,
    });
    assert_eq!(sequence.start(1.0), [ReplyStarted]);
}

#[test]
fn start_is_answered_when_the_hook_has_succeeded() {
    let mut sequence = cri(with_post_start());
    assert_eq!(sequence.phase(), Phase::Created);
    assert_eq!(sequence.start(1.0), [RunHook(PostStart)]);
    assert_eq!(sequence.phase(), Phase::PostStart);
    assert!(sequence.is_start_pending());
    assert_eq!(sequence.done(4.0, PostStart, true), [ReplyStarted]);
    assert_eq!(sequence.phase(), Phase::Running);
    assert!(!sequence.is_start_pending());
    assert_eq!(sequence.next_timer(), None);
}

#[test]
fn a_failed_hook_stops_the_container_before_start_fails() {
    let mut sequence = cri(with_both());
    sequence.start(0.0);
    assert_eq!(sequence.done(1.0, PostStart, false), [RunHook(PreStop)]);
    assert_eq!(sequence.phase(), Phase::PreStop);
    assert_eq!(sequence.done(2.0, PreStop, true), [SendStopSignal(TERM)]);
    assert!(sequence.is_start_pending());
    assert_eq!(sequence.exit(3.0), [ReplyFailed(Cause::HookFailed)]);
    assert_eq!(sequence.phase(), Phase::Stopped);
}

#[test]
fn a_failed_hook_is_killed_by_the_sequence_for_cri_too() {
    let mut sequence = cri(with_post_start());
    sequence.start(0.0);
    assert_eq!(sequence.done(1.0, PostStart, false), [SendStopSignal(TERM)]);
    assert_eq!(sequence.timer(), (31.0, vec![Sigkill]));
    assert_eq!(sequence.phase(), Phase::Killed);
    assert_eq!(sequence.exit(31.2), [ReplyFailed(Cause::HookFailed)]);
}

#[test]
fn a_failed_hook_is_killed_two_seconds_before_the_requests_deadline() {
    let mut sequence = cri(with_both());
    sequence.start_by(0.0, 12.0);
    assert_eq!(sequence.done(1.0, PostStart, false), [RunHook(PreStop)]);
    let after = secs(7.0);
    let abort = Abort::TimedOut {
        limit: Limit::RpcDeadline,
        after,
    };
    assert_eq!(
        sequence.timer(),
        (8.0, vec![AbortHook(PreStop, abort), SendStopSignal(TERM)])
    );
    assert_eq!(sequence.timer(), (10.0, vec![Sigkill]));
    assert_eq!(
        sequence.timer(),
        (11.0, vec![ReplyFailed(Cause::HookFailed)])
    );
    assert_eq!(sequence.phase(), Phase::Killed);
    assert_eq!(sequence.exit(11.5), []);
}

#[test]
fn start_fails_one_second_after_sigkill_even_if_init_will_not_die() {
    let mut sequence = cri(with_post_start());
    sequence.start(0.0);
    sequence.done(1.0, PostStart, false);
    assert_eq!(sequence.timer(), (31.0, vec![Sigkill]));
    assert_eq!(
        sequence.timer(),
        (32.0, vec![ReplyFailed(Cause::HookFailed)])
    );
    assert_eq!(sequence.next_timer(), None);
}

#[test]
fn a_failure_that_is_ignored_is_a_success() {
    let ignore = Some(HookTiming {
        timeout: Some(secs(5.0)),
        ignore_failure: true,
    });
    let mut failing = cri(Timing {
        post_start: ignore,
        ..timing()
    });
    let mut hanging = failing.clone();
    failing.start(0.0);
    assert_eq!(failing.done(1.0, PostStart, false), [ReplyStarted]);
    hanging.start(0.0);
    let abort = Abort::TimedOut {
        limit: Limit::Timeout,
        after: secs(5.0),
    };
    assert_eq!(
        hanging.timer(),
        (5.0, vec![AbortHook(PostStart, abort), ReplyStarted])
    );
    assert_eq!(hanging.phase(), Phase::Running);
}

#[test]
fn a_short_lived_entrypoint_has_not_failed() {
    let mut sequence = cri(with_both());
    sequence.start(0.0);
    assert_eq!(
        sequence.exit(1.0),
        [AbortHook(PostStart, Abort::InitExited), ReplyStarted]
    );
    assert_eq!(sequence.phase(), Phase::Stopped);
    assert_eq!(sequence.next_timer(), None);
    assert_eq!(sequence.done(1.1, PostStart, false), []);
}

#[test]
fn an_exit_seen_before_the_start_still_answers_start() {
    let mut sequence = cri(with_both());
    assert_eq!(sequence.exit(0.0), []);
    assert_eq!(sequence.start(1.0), [ReplyStarted]);
    assert_eq!(sequence.phase(), Phase::Stopped);
}

#[test]
fn a_stop_signal_aborts_the_hook_and_stops_the_container() {
    let mut sequence = cri(with_both());
    sequence.start(0.0);
    let abort = Abort::Signal(TERM);
    assert_eq!(
        sequence.kill(1.0, TERM),
        [AbortHook(PostStart, abort), RunHook(PreStop)]
    );
    assert_eq!(
        sequence.done(1.5, PostStart, true),
        [],
        "the aborted hook's end comes late"
    );
    assert_eq!(sequence.kill(1.6, TERM), []);
    assert_eq!(sequence.done(2.0, PreStop, false), [SendStopSignal(TERM)]);
    assert_eq!(sequence.exit(3.0), [ReplyFailed(Cause::Aborted(abort))]);
}

#[test]
fn a_stop_signal_that_goes_out_at_once_is_the_kills_own() {
    let mut sequence = plain(Timing {
        stop_signal: Some(libc::SIGQUIT),
        ..with_post_start()
    });
    sequence.start(0.0);
    let abort = Abort::Signal(TERM);
    assert_eq!(
        sequence.kill(1.0, TERM),
        [AbortHook(PostStart, abort), PassOn(libc::SIGQUIT)]
    );
    assert_eq!(sequence.timer(), (31.0, vec![Sigkill]));
    assert_eq!(
        sequence.timer(),
        (32.0, vec![ReplyFailed(Cause::Aborted(abort))])
    );
}

#[test]
fn a_stop_signal_is_no_failure_that_could_be_ignored() {
    let ignore = Some(HookTiming {
        timeout: None,
        ignore_failure: true,
    });
    let mut sequence = cri(Timing {
        post_start: ignore,
        ..timing()
    });
    sequence.start(0.0);
    let abort = Abort::Signal(TERM);
    assert_eq!(
        sequence.kill(1.0, TERM),
        [AbortHook(PostStart, abort), PassOn(TERM)]
    );
    assert_eq!(sequence.exit(2.0), [ReplyFailed(Cause::Aborted(abort))]);
}

#[test]
fn a_stop_signal_while_a_failed_start_is_cleaned_up_changes_nothing() {
    let mut sequence = cri(with_both());
    sequence.start(0.0);
    sequence.done(1.0, PostStart, false);
    let before = sequence.next_timer();
    assert_eq!(sequence.kill(2.0, TERM), []);
    assert_eq!(sequence.next_timer(), before);
    assert_eq!(
        sequence.exit(3.0),
        [
            AbortHook(PreStop, Abort::InitExited),
            ReplyFailed(Cause::HookFailed)
        ]
    );
}

#[test]
fn sigkill_ends_hook_and_container_and_start_succeeds_as_for_a_short_life() {
    let mut sequence = cri(with_both());
    sequence.start(0.0);
    assert_eq!(
        sequence.kill(1.0, libc::SIGKILL),
        [PassOn(libc::SIGKILL), AbortHook(PostStart, Abort::Killed)]
    );
    assert!(sequence.is_start_pending());
    assert_eq!(sequence.exit(1.1), [ReplyStarted]);
}

#[test]
fn sigkill_that_does_not_end_init_leaves_no_start_unanswered() {
    let table = [
        (None, 11.0),
        (Some(120.0), 11.0),
        (Some(5.0), 3.0),
        (Some(3.5), 2.25),
    ];
    for (deadline, answered) in table {
        let mut sequence = cri(with_post_start());
        let rpc_deadline = deadline.map(secs);
        sequence.step(secs(0.0), Event::Started { rpc_deadline });
        sequence.kill(1.0, libc::SIGKILL);
        let cause = Cause::Aborted(Abort::Killed);
        assert_eq!(
            sequence.timer(),
            (answered, vec![ReplyFailed(cause)]),
            "{deadline:?}"
        );
    }
}

#[test]
fn a_second_start_is_not_answered_by_the_machine() {
    let mut sequence = cri(with_post_start());
    sequence.start(0.0);
    assert_eq!(sequence.start(0.5), []);
    assert_eq!(sequence.done(1.0, PostStart, true), [ReplyStarted]);
    assert_eq!(sequence.start(2.0), []);
}
