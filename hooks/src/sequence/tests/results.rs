//! A result comes before what follows from it.

use super::super::Action::*;
use super::super::HookKind::*;
use super::*;

fn sequence(cri: bool) -> Sequence {
    let lifecycle = Some(Timing {
        post_start: hook(),
        pre_stop: hook(),
        ..timing()
    });
    Sequence::new(Settings { lifecycle, cri })
}

fn started(cri: bool) -> Sequence {
    let mut sequence = sequence(cri);
    let event = Event::Started { rpc_deadline: None };
    assert_eq!(sequence.step(secs(0.0), event), [RunHook(PostStart)]);
    sequence
}

fn ended(hook: HookKind, succeeded: bool, init_ending: bool) -> Event {
    Event::HookEnded {
        hook,
        succeeded,
        init_ending,
    }
}

fn kill(signal: i32) -> Event {
    Event::KillRequested {
        signal,
        paused: false,
    }
}

impl Sequence {
    fn at(&mut self, at: f64, event: Event) -> Vec<Action> {
        self.step(secs(at), event)
    }

    fn next(&mut self) -> (f64, Vec<Action>) {
        let at = self.next_timer().expect("a timer");
        (at.as_secs_f64(), self.step(at, Event::Timer))
    }
}

const INIT_EXITED: Abort = Abort::InitExited;
const BY_TERM: Abort = Abort::Signal(TERM);

#[test]
fn a_result_is_recorded_before_start_is_answered() {
    let mut sequence = started(true);
    assert_eq!(
        sequence.at(1.0, ended(PostStart, true, false)),
        [RecordHook(PostStart, None), ReplyStarted]
    );
}

#[test]
fn the_answer_waits_for_the_hook_that_the_end_of_init_has_aborted() {
    let mut sequence = started(true);
    let aborted = [AbortHook(PostStart, INIT_EXITED)];
    assert_eq!(sequence.at(1.0, Event::InitExited), aborted);
    assert!(!sequence.is_settled() && sequence.is_start_pending());
    let recorded = [RecordHook(PostStart, Some(INIT_EXITED)), ReplyStarted];
    assert_eq!(sequence.at(1.2, ended(PostStart, false, true)), recorded);
    assert!(sequence.is_settled() && !sequence.is_start_pending());
    assert_eq!(sequence.next_timer(), None);
}

#[test]
fn a_hook_that_does_not_die_is_given_up_after_a_second_and_recorded_when_it_does() {
    let mut sequence = started(true);
    sequence.at(1.0, Event::InitExited);
    let given_up = vec![GiveUpHook(PostStart, INIT_EXITED), ReplyStarted];
    assert_eq!(sequence.next(), (2.0, given_up));
    assert_eq!(sequence.at(3.0, Event::ExitPublished), []);
    let late = [RecordHook(PostStart, Some(INIT_EXITED))];
    assert_eq!(sequence.at(90.0, ended(PostStart, false, false)), late);
    assert_eq!(sequence.at(91.0, ended(PostStart, false, false)), []);
}

#[test]
fn the_stop_signal_does_not_wait_for_the_hook_it_has_aborted() {
    let mut sequence = started(true);
    assert_eq!(
        sequence.at(1.0, kill(TERM)),
        [AbortHook(PostStart, BY_TERM), RunHook(PreStop)]
    );
    assert_eq!(
        sequence.at(1.5, ended(PreStop, true, false)),
        [RecordHook(PreStop, None), SendStopSignal(TERM)]
    );
}

#[test]
fn a_failed_start_is_answered_after_the_exit_is_published() {
    let mut sequence = started(true);
    sequence.at(1.0, ended(PostStart, false, false));
    sequence.at(2.0, ended(PreStop, true, false));
    assert_eq!(sequence.at(3.0, Event::InitExited), []);
    assert!(sequence.is_start_pending());
    assert_eq!(sequence.next_timer(), None);
    assert_eq!(
        sequence.at(4.0, Event::ExitPublished),
        [ReplyFailed(Cause::HookFailed)]
    );
    assert_eq!(sequence.at(5.0, Event::ExitPublished), []);
}

#[test]
fn the_answer_of_a_failed_start_waits_a_second_for_late_output() {
    for late in [0.5, 5.0] {
        let mut sequence = started(true);
        sequence.at(1.0, kill(TERM));
        let given_up = vec![GiveUpHook(PostStart, BY_TERM)];
        assert_eq!(sequence.next(), (2.0, given_up));
        sequence.at(2.5, ended(PreStop, true, false));
        sequence.at(3.0, Event::InitExited);
        assert_eq!(sequence.at(4.0, Event::ExitPublished), []);
        let failed = ReplyFailed(Cause::Aborted(BY_TERM));
        let recorded = RecordHook(PostStart, Some(BY_TERM));
        if late < 1.0 {
            let actions = sequence.at(4.0 + late, ended(PostStart, false, false));
            assert_eq!(actions, [recorded, failed]);
        } else {
            assert_eq!(sequence.next(), (5.0, vec![failed]));
            let actions = sequence.at(4.0 + late, ended(PostStart, false, false));
            assert_eq!(actions, [recorded]);
        }
    }
}

#[test]
fn a_start_that_init_does_not_let_go_is_answered_without_its_exit() {
    let mut sequence = started(true);
    sequence.at(1.0, ended(PostStart, false, false));
    sequence.at(2.0, ended(PreStop, false, false));
    assert_eq!(sequence.next(), (31.0, vec![Sigkill]));
    let failed = vec![ReplyFailed(Cause::HookFailed)];
    assert_eq!(sequence.next(), (32.0, failed));
    assert_eq!(sequence.at(33.0, Event::InitExited), []);
    assert_eq!(sequence.at(33.0, Event::ExitPublished), []);
}

#[test]
fn a_hook_that_dies_with_its_container_has_not_failed() {
    let mut sequence = started(true);
    assert_eq!(sequence.at(1.0, ended(PostStart, false, true)), []);
    assert_eq!(sequence.phase(), Phase::PostStart);
    assert_eq!(
        sequence.at(2.0, Event::InitExited),
        [
            AbortHook(PostStart, INIT_EXITED),
            RecordHook(PostStart, Some(INIT_EXITED)),
            ReplyStarted
        ]
    );
}

#[test]
fn a_hook_that_fails_while_init_hangs_on_its_way_out_has_failed_after_ten_seconds() {
    let mut sequence = started(true);
    sequence.at(1.0, ended(PostStart, false, true));
    let failed = vec![RecordHook(PostStart, None), RunHook(PreStop)];
    assert_eq!(sequence.next(), (11.0, failed));
}

#[test]
fn a_hook_that_succeeds_while_init_ends_has_succeeded() {
    let mut sequence = started(true);
    assert_eq!(
        sequence.at(1.0, ended(PostStart, true, true)),
        [RecordHook(PostStart, None), ReplyStarted]
    );
}

#[test]
fn a_failed_hook_that_is_undecided_is_aborted_by_sigkill() {
    let mut sequence = started(true);
    sequence.at(1.0, ended(PostStart, false, true));
    let killed = Abort::Killed;
    assert_eq!(
        sequence.at(2.0, kill(libc::SIGKILL)),
        [
            PassOn(libc::SIGKILL),
            AbortHook(PostStart, killed),
            RecordHook(PostStart, Some(killed))
        ]
    );
    assert_eq!(sequence.at(2.1, Event::InitExited), [ReplyStarted]);
}

#[test]
fn the_end_of_a_hook_that_never_ran_leads_to_nothing() {
    let mut sequence = sequence(false);
    for hook in [PostStart, PreStop] {
        for (succeeded, init_ending) in [(true, false), (false, false), (false, true)] {
            let before = sequence.clone();
            assert_eq!(sequence.at(0.0, ended(hook, succeeded, init_ending)), []);
            assert_eq!(sequence, before);
        }
    }
}
