//! What waits for the result of a hook: the record, the Running state and the answer to Start. Signals do not.

use super::Time;
use super::event::{Abort, Action, Cause, Event, HookKind, Phase, Termination};
use super::machine::Life;
use super::settings::Settings;
use super::timers;

/// One container's life.
///
/// A driver holds one, and has no rules or time limits of its own:
///
/// - It calls [`step`](Self::step) with what has happened ([`Event`]) and the time, and carries out the actions in
///   their order before the next call. It never has to look whether an event fits: one that does not leads to nothing.
/// - It calls `step` with [`Event::Timer`] when the time of [`next_timer`](Self::next_timer) has come. That time is to be
///   asked for anew after every step. A timer that comes late, or early, does no harm.
/// - Before it says [`Event::Timer`] it says what has ended by then ([`Event::HookOver`], [`Event::InitOver`]).
/// - Every [`Action::RunHook`] is followed by one [`Event::HookEnded`], whether or not the hook is aborted. The driver
///   keeps the hook's result until [`Action::RecordHook`] asks for it: mostly in the same step.
/// - After a step it writes the record if [`is_settled`](Self::is_settled), before it answers Start.
/// - Once init has ended it says [`Event::InitExited`], waits until the sequence is settled, publishes the exit, and
///   says [`Event::ExitPublished`].
/// - [`Event::Started`] is followed by one answer to Start, whatever happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    life: Life,
    now: Time,
    /// Hooks that were ended and are not dead, as far as is known.
    aborted: Vec<Aborted>,
    /// A hook that has failed while init was on its way out, and until when that is waited for.
    undecided: Option<(HookKind, Time)>,
    /// postStart was run, and how it ended is not known yet.
    post_start_open: bool,
    /// What Start is to be answered with.
    answer: Option<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Aborted {
    kind: HookKind,
    why: Abort,
    /// When its death is waited for no longer.
    until: Time,
    given_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Started,
    Failed {
        cause: Cause,
        /// From when on the answer may go out: until then the exit of init is to be published.
        since: Option<Time>,
    },
}

impl Sequence {
    /// The life of a container that has been created.
    pub fn new(settings: Settings) -> Sequence {
        Sequence {
            life: Life::new(settings),
            now: Time::ZERO,
            aborted: Vec::new(),
            undecided: None,
            post_start_open: false,
            answer: None,
        }
    }

    /// What an event at `now` leads to; whatever was due by then happens too.
    pub fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut actions = Vec::new();
        match event {
            Event::HookEnded {
                hook,
                succeeded,
                init_ending,
            } => self.hook_ended(hook, succeeded, init_ending, &mut actions),
            Event::ExitPublished => {
                if let Some(Answer::Failed { since, .. }) = &mut self.answer {
                    since.get_or_insert(self.now);
                }
            }
            other => self.decide(other, &mut actions),
        }
        // One round for what is due, and another for what that has set to be due at once.
        while self.next_timer().is_some_and(|at| at <= self.now) {
            self.fire_due(&mut actions);
        }
        self.answer_start(&mut actions);
        actions
    }

    /// When [`Event::Timer`] is to be sent; none while nothing is waited for. Always later than the latest time that a
    /// step was told.
    pub fn next_timer(&self) -> Option<Time> {
        let aborted = self.aborted.iter().filter(|hook| !hook.given_up);
        let undecided = self.undecided.map(|(_, until)| until);
        aborted
            .map(|hook| hook.until)
            .chain(self.life.next_timer())
            .chain(undecided)
            .chain(self.output_until())
            .min()
    }

    /// Where the container is in its life.
    pub fn phase(&self) -> Phase {
        self.life.phase()
    }

    /// Whether Start was asked and is not answered yet.
    pub fn is_start_pending(&self) -> bool {
        self.life.is_start_pending() || self.answer.is_some()
    }

    /// Whether it is known of every hook that was ended how it went, or is not waited for any more.
    pub fn is_settled(&self) -> bool {
        self.aborted.iter().all(|hook| hook.given_up)
    }

    /// How the container is being ended.
    pub fn termination(&self) -> Option<&Termination> {
        self.life.termination()
    }

    fn hook_ended(
        &mut self,
        kind: HookKind,
        succeeded: bool,
        init_ending: bool,
        actions: &mut Vec<Action>,
    ) {
        let aborted = self.aborted.iter().position(|hook| hook.kind == kind);
        if let Some(aborted) = aborted {
            let Aborted { why, .. } = self.aborted.swap_remove(aborted);
            return self.record(kind, Some(why), actions);
        }
        if !self.life.runs(kind) {
            return;
        }
        // A hook that dies with its container has not failed: the kernel kills it, or takes away what it needs, before
        // init's own end can be seen.
        if !succeeded && init_ending {
            let until = self.now.saturating_add(timers::INIT_END);
            self.undecided.get_or_insert((kind, until));
            return;
        }
        self.ended_by_itself(kind, succeeded, actions);
    }

    fn ended_by_itself(&mut self, kind: HookKind, succeeded: bool, actions: &mut Vec<Action>) {
        self.record(kind, None, actions);
        let event = Event::HookEnded {
            hook: kind,
            succeeded,
            init_ending: false,
        };
        self.decide(event, actions);
    }

    fn record(&mut self, kind: HookKind, why: Option<Abort>, actions: &mut Vec<Action>) {
        if kind == HookKind::PostStart {
            self.post_start_open = false;
        }
        actions.push(Action::RecordHook(kind, why));
    }

    /// Has the machine decide; what has to wait is kept.
    fn decide(&mut self, event: Event, actions: &mut Vec<Action>) {
        for action in self.life.step(self.now, event) {
            match action {
                Action::RunHook(kind) => {
                    self.post_start_open |= kind == HookKind::PostStart;
                    actions.push(action);
                }
                Action::AbortHook(kind, why) => {
                    actions.push(action);
                    self.aborted(kind, why, actions);
                }
                Action::ReplyStarted => self.answer = Some(Answer::Started),
                Action::ReplyFailed(cause) => {
                    // After the end of init the client is told of that first. Before it, init would not die in time.
                    let ended = self.phase() == Phase::Stopped;
                    let since = (!ended).then_some(self.now);
                    self.answer = Some(Answer::Failed { cause, since });
                }
                other => actions.push(other),
            }
        }
    }

    fn aborted(&mut self, kind: HookKind, why: Abort, actions: &mut Vec<Action>) {
        if self.undecided.take_if(|(hook, _)| *hook == kind).is_some() {
            return self.record(kind, Some(why), actions);
        }
        self.aborted.push(Aborted {
            kind,
            why,
            until: self.now.saturating_add(timers::RESULT),
            given_up: false,
        });
    }

    fn fire_due(&mut self, actions: &mut Vec<Action>) {
        self.decide(Event::Timer, actions);
        let now = self.now;
        if let Some((kind, _)) = self.undecided.take_if(|(_, until)| *until <= now) {
            self.ended_by_itself(kind, false, actions);
        }
        self.give_up_hooks(now, actions);
        if self.output_until().is_some_and(|until| until <= now) {
            self.give_up_hooks(Time::MAX, actions);
            self.post_start_open = false;
        }
    }

    /// Gives up the hooks whose death is waited for until `latest` or less.
    fn give_up_hooks(&mut self, latest: Time, actions: &mut Vec<Action>) {
        let due = |hook: &&mut Aborted| !hook.given_up && hook.until <= latest;
        for hook in self.aborted.iter_mut().filter(due) {
            hook.given_up = true;
            actions.push(Action::GiveUpHook(hook.kind, hook.why));
        }
    }

    /// Until when the answer of a failed Start waits for what postStart has printed.
    fn output_until(&self) -> Option<Time> {
        match self.answer {
            Some(Answer::Failed {
                since: Some(since), ..
            }) if self.post_start_open => Some(since.saturating_add(timers::OUTPUT)),
            _ => None,
        }
    }

    fn answer_start(&mut self, actions: &mut Vec<Action>) {
        let reply = match self.answer {
            Some(Answer::Started) => Action::ReplyStarted,
            Some(Answer::Failed {
                cause,
                since: Some(_),
            }) if !self.post_start_open => Action::ReplyFailed(cause),
            _ => return,
        };
        if self.is_settled() {
            self.answer = None;
            actions.push(reply);
        }
    }
}
