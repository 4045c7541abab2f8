//! Section 4: preStop and the kill sequence.

use super::super::Action::*;
use super::super::HookKind::*;
use super::*;

const USR1: i32 = libc::SIGUSR1;
const SIGKILL: i32 = libc::SIGKILL;

fn with_pre_stop() -> Timing {
    Timing {
        pre_stop: hook(),
        ..timing()
    }
}

fn delivered(sequence: &mut Life, signal: i32) -> bool {
    sequence.kill(1.0, signal) == [PassOn(signal)] && sequence.termination().is_none()
}

#[test]
fn the_signal_goes_out_after_the_hook() {
    for succeeded in [true, false] {
        let mut sequence = running(cri(with_pre_stop()));
        assert_eq!(sequence.kill(1.0, TERM), [RunHook(PreStop)]);
        assert_eq!(sequence.phase(), Phase::PreStop);
        assert_eq!(
            sequence.done(3.0, PreStop, succeeded),
            [SendStopSignal(TERM)]
        );
        assert_eq!(sequence.phase(), Phase::Signalled);
        assert_eq!(sequence.exit(4.0), []);
        assert_eq!(sequence.phase(), Phase::Stopped);
    }
}

#[test]
fn further_stop_signals_are_accepted_and_change_nothing() {
    let mut sequence = running(plain(with_pre_stop()));
    sequence.kill(1.0, TERM);
    assert_eq!(sequence.kill(2.0, TERM), []);
    assert_eq!(sequence.kill(2.5, libc::SIGINT), []);
    assert_eq!(sequence.done(3.0, PreStop, true), [SendStopSignal(TERM)]);
    assert_eq!(sequence.kill(4.0, TERM), []);
    assert_eq!(sequence.timer(), (31.0, vec![Sigkill]));
    assert_eq!(sequence.kill(31.5, TERM), []);
}

#[test]
fn sigkill_is_delivered_first_whatever_runs() {
    let mut sequence = running(cri(with_pre_stop()));
    sequence.kill(1.0, TERM);
    assert_eq!(
        sequence.kill(2.0, SIGKILL),
        [PassOn(SIGKILL), AbortHook(PreStop, Abort::Killed)]
    );
    assert_eq!(sequence.phase(), Phase::Killed);
    assert_eq!(sequence.done(2.1, PreStop, true), []);
    assert_eq!(sequence.kill(2.2, SIGKILL), [PassOn(SIGKILL)]);
    assert_eq!(sequence.termination().unwrap().killed_at, Some(secs(2.0)));
}

#[test]
fn sigkill_never_starts_pre_stop() {
    let mut sequence = running(cri(with_pre_stop()));
    assert_eq!(sequence.kill(1.0, SIGKILL), [PassOn(SIGKILL)]);
    let termination = *sequence.termination().unwrap();
    assert_eq!(
        (termination.signal, termination.grace, termination.killed_at),
        (9, secs(0.0), Some(secs(1.0)))
    );
    assert_eq!(sequence.kill(2.0, TERM), [PassOn(TERM)], "no sequence runs");
    assert_eq!(sequence.next_timer(), None);
}

#[test]
fn for_cri_every_signal_but_sigkill_and_the_probe_is_a_stop_signal() {
    for signal in (1..=64).filter(|signal| *signal != SIGKILL) {
        let mut sequence = running(cri(with_pre_stop()));
        assert_eq!(sequence.kill(1.0, signal), [RunHook(PreStop)], "{signal}");
        assert_eq!(sequence.done(2.0, PreStop, true), [SendStopSignal(signal)]);
    }
    for signal in [0, -1, 65, i32::MAX, i32::MIN] {
        assert!(
            delivered(&mut running(cri(with_pre_stop())), signal),
            "{signal}"
        );
    }
}

#[test]
fn outside_of_cri_only_stop_signals_stop() {
    let own = Timing {
        stop_signal: Some(libc::SIGWINCH),
        stop_signals: vec![libc::SIGHUP],
        ..with_pre_stop()
    };
    let stop = [
        TERM,
        libc::SIGINT,
        libc::SIGQUIT,
        37,
        libc::SIGWINCH,
        libc::SIGHUP,
    ];
    for signal in 0..=65 {
        let mut sequence = running(plain(own.clone()));
        let actions = sequence.kill(1.0, signal);
        let expected = if stop.contains(&signal) {
            RunHook(PreStop)
        } else {
            PassOn(signal)
        };
        assert_eq!(actions, [expected], "{signal}");
    }
    assert!(delivered(
        &mut running(plain(with_pre_stop())),
        libc::SIGHUP
    ));
}

#[test]
fn sigkill_and_signal_0_are_no_stop_signals_even_if_the_node_says_so() {
    let node = Timing {
        stop_signal: Some(SIGKILL),
        stop_signals: vec![0, SIGKILL],
        ..with_pre_stop()
    };
    assert_eq!(
        running(plain(node.clone())).kill(1.0, SIGKILL),
        [PassOn(SIGKILL)]
    );
    assert_eq!(running(plain(node)).kill(1.0, 0), [PassOn(0)]);
}

#[test]
fn other_signals_pass_in_every_phase() {
    let mut sequence = plain(Timing {
        post_start: hook(),
        ..with_pre_stop()
    });
    assert_eq!(sequence.kill(0.0, USR1), [PassOn(USR1)]);
    sequence.start(1.0);
    assert_eq!(sequence.kill(1.5, USR1), [PassOn(USR1)]);
    sequence.done(2.0, PostStart, true);
    assert_eq!(sequence.kill(2.5, USR1), [PassOn(USR1)]);
    sequence.kill(3.0, TERM);
    assert_eq!(sequence.kill(3.5, USR1), [PassOn(USR1)]);
    sequence.done(4.0, PreStop, true);
    assert_eq!(sequence.kill(4.5, USR1), [PassOn(USR1)]);
    sequence.exit(5.0);
    assert_eq!(sequence.kill(5.5, USR1), [PassOn(USR1)]);
}

#[test]
fn without_lifecycle_every_signal_is_delivered() {
    for cri in [true, false] {
        let mut sequence = running(Life::new(Settings {
            lifecycle: None,
            cri,
        }));
        for signal in [0, TERM, SIGKILL, USR1, TERM] {
            assert_eq!(sequence.kill(1.0, signal), [PassOn(signal)]);
        }
        assert_eq!(sequence.next_timer(), None);
        assert_eq!(sequence.exit(2.0), []);
        assert_eq!(sequence.kill(3.0, TERM), [PassOn(TERM)]);
    }
}

#[test]
fn before_the_start_every_signal_is_delivered() {
    let mut sequence = cri(with_pre_stop());
    for signal in [TERM, SIGKILL, 0] {
        assert!(delivered(&mut sequence, signal), "{signal}");
    }
    assert_eq!(sequence.phase(), Phase::Created);
}

#[test]
fn after_the_exit_the_runtime_answers() {
    let mut sequence = running(plain(with_pre_stop()));
    assert_eq!(sequence.exit(1.0), []);
    assert!(delivered(&mut sequence, TERM) && delivered(&mut sequence, SIGKILL));
    assert_eq!(sequence.exit(2.0), []);
    assert_eq!(sequence.done(2.0, PreStop, true), []);
}

#[test]
fn the_lifecycles_stop_signal_replaces_the_one_that_came() {
    let quit = Timing {
        stop_signal: Some(libc::SIGQUIT),
        ..timing()
    };
    assert_eq!(
        running(cri(quit.clone())).kill(1.0, TERM),
        [PassOn(libc::SIGQUIT)]
    );
    let mut sequence = running(cri(Timing {
        pre_stop: hook(),
        ..quit
    }));
    assert_eq!(sequence.kill(1.0, TERM), [RunHook(PreStop)]);
    assert_eq!(
        sequence.done(2.0, PreStop, true),
        [SendStopSignal(libc::SIGQUIT)]
    );
}

#[test]
fn a_stop_signal_of_sigkill_kills_at_the_end_of_pre_stop() {
    let mut sequence = running(cri(Timing {
        stop_signal: Some(SIGKILL),
        ..with_pre_stop()
    }));
    assert_eq!(sequence.kill(1.0, TERM), [RunHook(PreStop)]);
    assert_eq!(sequence.done(2.0, PreStop, true), [SendStopSignal(SIGKILL)]);
}

#[test]
fn sigkill_comes_at_the_end_of_the_grace_period_where_it_is_ours() {
    let ours = Timing {
        grace_is_ours: true,
        ..timing()
    };
    for mut sequence in [
        running(plain(timing())),
        running(plain(ours.clone())),
        running(cri(ours)),
    ] {
        assert_eq!(sequence.kill(1.0, TERM), [PassOn(TERM)]);
        assert_eq!(sequence.timer(), (31.0, vec![Sigkill]));
        assert_eq!(sequence.phase(), Phase::Killed);
        assert_eq!(sequence.next_timer(), None);
        assert_eq!(sequence.exit(31.1), []);
    }
}

#[test]
fn the_cri_client_owns_the_end_elsewhere() {
    let mut sequence = running(cri(with_pre_stop()));
    sequence.kill(1.0, TERM);
    sequence.done(2.0, PreStop, true);
    assert_eq!(sequence.next_timer(), None);
}

#[test]
fn a_grace_period_of_0_is_sigkill_at_once() {
    let zero = Timing {
        grace: secs(0.0),
        ..with_pre_stop()
    };
    let ours = Timing {
        grace_is_ours: true,
        ..zero.clone()
    };
    for mut sequence in [running(plain(zero.clone())), running(cri(ours))] {
        assert_eq!(
            sequence.kill(1.0, TERM),
            [SkipHook(PreStop, Skip::ZeroGrace), Sigkill]
        );
        assert_eq!(sequence.phase(), Phase::Killed);
        let termination = *sequence.termination().unwrap();
        assert_eq!(
            (termination.signalled_at, termination.killed_at),
            (None, Some(secs(1.0)))
        );
    }
    let mut sequence = running(cri(zero));
    assert_eq!(
        sequence.kill(1.0, TERM),
        [SkipHook(PreStop, Skip::ZeroGrace), PassOn(TERM)]
    );
    assert_eq!(sequence.next_timer(), None);
}

#[test]
fn a_paused_container_runs_no_pre_stop() {
    let mut sequence = running(plain(with_pre_stop()));
    let actions = sequence.step(
        secs(1.0),
        Event::KillRequested {
            signal: TERM,
            paused: true,
        },
    );
    assert_eq!(actions, [SkipHook(PreStop, Skip::Paused), PassOn(TERM)]);
    assert_eq!(sequence.timer(), (31.0, vec![Sigkill]));
}

#[test]
fn the_exit_of_init_ends_the_hook() {
    let mut sequence = running(plain(with_pre_stop()));
    sequence.kill(1.0, TERM);
    assert_eq!(sequence.exit(2.0), [AbortHook(PreStop, Abort::InitExited)]);
    assert_eq!(sequence.next_timer(), None);
    assert_eq!(sequence.step(secs(100.0), Event::Timer), []);
}

#[test]
fn a_container_that_exits_by_itself_runs_no_pre_stop() {
    let mut sequence = running(plain(with_pre_stop()));
    assert_eq!(sequence.exit(1.0), []);
    assert!(sequence.termination().is_none());
}

#[test]
fn the_termination_tells_its_times() {
    let mut sequence = running(plain(with_pre_stop()));
    sequence.kill(1.0, libc::SIGINT);
    sequence.done(2.0, PreStop, true);
    sequence.timer();
    let expected = Termination {
        requested_at: secs(1.0),
        signal: libc::SIGINT,
        grace: secs(30.0),
        signalled_at: Some(secs(2.0)),
        killed_at: Some(secs(31.0)),
    };
    assert_eq!(sequence.termination(), Some(&expected));
}

const WINCH: i32 = libc::SIGWINCH;

#[test]
fn the_signal_that_docker_stops_this_container_with_is_a_stop_signal() {
    let timing = Timing {
        own_stop_signal: Some(WINCH),
        ..with_pre_stop()
    };
    let mut sequence = running(plain(timing));
    assert!(delivered(&mut sequence, USR1));
    assert_eq!(sequence.kill(2.0, WINCH), [RunHook(PreStop)]);
    assert_eq!(sequence.done(3.0, PreStop, true), [SendStopSignal(WINCH)]);
    assert_eq!(sequence.exit(4.0), []);
}

#[test]
fn a_container_that_another_signal_ends_has_missed_its_pre_stop() {
    let missed = [SkipHook(PreStop, Skip::NotAStop(WINCH))];
    let mut sequence = running(plain(with_pre_stop()));
    assert!(delivered(&mut sequence, WINCH));
    assert_eq!(sequence.exit(2.0), missed);
    // Or the SIGKILL that comes after it.
    let mut sequence = running(plain(with_pre_stop()));
    assert!(delivered(&mut sequence, WINCH));
    assert_eq!(sequence.kill(11.0, SIGKILL), [PassOn(SIGKILL)]);
    assert_eq!(sequence.exit(11.1), missed);
    // During postStart as well.
    let mut sequence = plain(Timing {
        post_start: hook(),
        ..with_pre_stop()
    });
    sequence.start(0.0);
    assert!(delivered(&mut sequence, WINCH));
    assert_eq!(
        sequence.exit(2.0),
        [
            AbortHook(PostStart, Abort::InitExited),
            missed[0],
            ReplyStarted
        ]
    );
}

#[test]
fn who_ends_by_himself_or_has_no_pre_stop_has_missed_nothing() {
    // Long after a signal that made it read its configuration again.
    let mut sequence = running(plain(with_pre_stop()));
    assert!(delivered(&mut sequence, libc::SIGHUP));
    assert_eq!(sequence.exit(60.0), []);
    // After a question whether it is there, and an impossible signal.
    let mut sequence = running(plain(with_pre_stop()));
    assert!(delivered(&mut sequence, 0) && delivered(&mut sequence, 65));
    assert_eq!(sequence.exit(2.0), []);
    // Without a preStop.
    let mut sequence = running(plain(timing()));
    assert!(delivered(&mut sequence, WINCH));
    assert_eq!(sequence.exit(2.0), []);
    // Where it has run since.
    let mut sequence = running(plain(with_pre_stop()));
    assert!(delivered(&mut sequence, WINCH));
    assert_eq!(sequence.kill(2.0, TERM), [RunHook(PreStop)]);
    assert_eq!(sequence.done(3.0, PreStop, true), [SendStopSignal(TERM)]);
    assert_eq!(sequence.exit(4.0), []);
}
