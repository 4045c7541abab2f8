//! A container under the machine, on a virtual clock: it does what the actions say, and after every
//! step checks what must hold whatever happens.

use std::time::Duration;

use podhook_hooks::sequence::{
    Abort, Action, Event, HookKind, Phase, Sequence, Settings, Skip, Termination, Time,
};

pub const SIGKILL: i32 = 9;

/// The time kept at the end of a window.
const RESERVE: Duration = Duration::from_secs(2);

#[derive(Clone, PartialEq)]
pub struct World {
    pub machine: Sequence,
    settings: Settings,
    pub now: Time,
    /// The hook that runs, and since when.
    pub hook: Option<(HookKind, Time)>,
    /// Hooks that were run or skipped.
    seen: Vec<HookKind>,
    started: Option<(Time, Option<Time>)>,
    reply: Option<(Time, Action)>,
    post_start_succeeded: bool,
    exited: bool,
    /// The kill sequence: its begin, and whether it fails Start.
    stop: Option<(Time, bool)>,
    signals: usize,
    kills: usize,
    /// Signals that were delivered and are no stop signals, the last one's time among them.
    pub untouched: usize,
    last_untouched: Option<(Time, i32)>,
    /// Hooks that were run, and of which nothing is recorded yet.
    unrecorded: Vec<HookKind>,
    /// Hooks that were aborted, and die in a moment.
    dying: Vec<HookKind>,
    /// The hook that runs has failed while init was on its way out.
    undecided: bool,
}

impl World {
    pub fn new(settings: Settings) -> World {
        World {
            machine: Sequence::new(settings.clone()),
            settings,
            now: Time::ZERO,
            hook: None,
            seen: Vec::new(),
            started: None,
            reply: None,
            post_start_succeeded: false,
            exited: false,
            stop: None,
            signals: 0,
            kills: 0,
            untouched: 0,
            last_untouched: None,
            unrecorded: Vec::new(),
            dying: Vec::new(),
            undecided: false,
        }
    }

    /// Time passes; every timer fires when it is due.
    pub fn sleep(&mut self, duration: Duration) {
        let until = self.now.saturating_add(duration);
        while let Some(at) = self.machine.next_timer().filter(|at| *at <= until) {
            self.now = at;
            self.event(Event::Timer);
        }
        self.now = until;
        assert!(
            self.machine.step(until, Event::Timer).is_empty(),
            "nothing is due between timers"
        );
    }

    pub fn event(&mut self, event: Event) {
        // What has ended does not end again.
        if self.undecided && matches!(event, Event::HookEnded { .. }) {
            return;
        }
        let before = self.machine.phase();
        let pending = self.machine.is_start_pending();
        let had_termination = self.machine.termination().is_some();
        self.observe(event, before);
        let actions = self.machine.step(self.now, event);
        for (index, action) in actions.iter().enumerate() {
            self.obey(event, index, *action, &actions);
        }
        self.check_event(event, before, &actions);
        let plain_kill = matches!(
            event,
            Event::KillRequested {
                signal: SIGKILL,
                ..
            }
        );
        if !had_termination && !plain_kill && self.machine.termination().is_some() {
            self.stop = Some((self.now, pending || !matches!(before, Phase::Running)));
        }
        self.follow_up(event);
        assert!(
            rank(self.machine.phase()) >= rank(before),
            "{before:?} → {:?}",
            self.machine.phase()
        );
        self.check_state();
    }

    /// What every driver does then: aborted hooks die, and the exit of init is published.
    fn follow_up(&mut self, event: Event) {
        for hook in std::mem::take(&mut self.dying) {
            self.follow(Event::HookEnded {
                hook,
                succeeded: false,
                init_ending: false,
            });
        }
        assert!(self.machine.is_settled());
        if event == Event::InitExited {
            self.follow(Event::ExitPublished);
        }
    }

    fn follow(&mut self, event: Event) {
        let actions = self.machine.step(self.now, event);
        for (index, action) in actions.iter().enumerate() {
            self.obey(event, index, *action, &actions);
        }
    }

    /// What the event itself does to the world.
    fn observe(&mut self, event: Event, before: Phase) {
        match event {
            Event::Started { rpc_deadline } if self.started.is_none() => {
                self.started = Some((self.now, rpc_deadline));
            }
            Event::InitExited => self.exited = true,
            Event::KillRequested { signal, .. }
                if signal != SIGKILL
                    && (1..=64).contains(&signal)
                    && self.timing().is_some()
                    && !self.stops(signal)
                    && !matches!(before, Phase::Created | Phase::Stopped) =>
            {
                self.untouched += 1;
                self.last_untouched = Some((self.now, signal));
            }
            Event::HookEnded {
                hook,
                succeeded: false,
                init_ending: true,
            } if self.hook.is_some_and(|(kind, _)| kind == hook) => self.undecided = true,
            Event::HookEnded {
                hook, succeeded, ..
            } if self.hook.is_some_and(|(kind, _)| kind == hook) => {
                self.hook = None;
                self.post_start_succeeded |= hook == HookKind::PostStart && succeeded;
            }
            _ => assert!(before == Phase::Stopped || !self.exited),
        }
    }

    fn obey(&mut self, event: Event, index: usize, action: Action, all: &[Action]) {
        let context = format!("{event:?} → {all:?}");
        match action {
            Action::RunHook(kind) => {
                assert!(self.hook.is_none(), "two hooks at once: {context}");
                assert!(!self.seen.contains(&kind), "a hook twice: {context}");
                assert!(!self.exited, "{context}");
                assert!(
                    !matches!(event, Event::KillRequested { paused: true, .. }),
                    "{context}"
                );
                self.seen.push(kind);
                self.unrecorded.push(kind);
                self.hook = Some((kind, self.now));
            }
            Action::SkipHook(kind, skip) => {
                assert!(!self.seen.contains(&kind), "{context}");
                self.seen.push(kind);
                if let Skip::NotAStop(signal) = skip {
                    assert_eq!((event, kind), (Event::InitExited, HookKind::PreStop));
                    let (at, last) = self.last_untouched.expect("a signal before it");
                    let grace = self.timing().expect("a lifecycle").grace;
                    assert!(signal == last && self.now - at <= grace, "{context}");
                    assert!(self.stop.is_none(), "{context}");
                }
            }
            Action::AbortHook(kind, why) => {
                let (running, since) = self
                    .hook
                    .take()
                    .unwrap_or_else(|| panic!("no hook: {context}"));
                assert_eq!(running, kind, "{context}");
                if !std::mem::take(&mut self.undecided) {
                    self.dying.push(kind);
                }
                match why {
                    Abort::TimedOut { after, .. } => {
                        assert_eq!(self.now, since + after, "{context}")
                    }
                    Abort::Signal(signal) => {
                        assert!(
                            matches!(event, Event::KillRequested { signal: s, .. } if s == signal)
                        )
                    }
                    Abort::InitExited => assert_eq!(event, Event::InitExited),
                    Abort::Killed => assert!(
                        matches!(
                            event,
                            Event::KillRequested {
                                signal: SIGKILL,
                                ..
                            }
                        ),
                        "{context}"
                    ),
                }
            }
            Action::RecordHook(kind, _) => {
                let at = self.unrecorded.iter().position(|hook| *hook == kind);
                self.unrecorded
                    .swap_remove(at.expect("a hook without a record"));
                if std::mem::take(&mut self.undecided) {
                    self.hook = None;
                }
            }
            Action::GiveUpHook(..) => panic!("it was dead at once: {context}"),
            Action::PassOn(signal) => {
                let Event::KillRequested { signal: asked, .. } = event else {
                    panic!("deliver to nobody: {context}")
                };
                let own = self.timing().and_then(|timing| timing.stop_signal);
                assert!(signal == asked || Some(signal) == own, "{context}");
                if signal == SIGKILL && asked == SIGKILL {
                    assert_eq!(index, 0, "SIGKILL comes first: {context}");
                }
                if self
                    .machine
                    .termination()
                    .is_some_and(|t| t.signalled_at == Some(self.now))
                {
                    assert!(
                        self.hook.is_none(),
                        "the signal before the hook's end: {context}"
                    );
                }
            }
            Action::SendStopSignal(signal) => {
                self.signals += 1;
                assert_eq!(self.signals, 1, "{context}");
                assert!(
                    self.hook.is_none() && !self.exited,
                    "the signal before the hook's end: {context}"
                );
                assert_eq!(self.machine.termination().map(|t| t.signal), Some(signal));
            }
            Action::Sigkill => {
                self.kills += 1;
                assert!(
                    self.kills == 1 && !self.exited && self.hook.is_none(),
                    "{context}"
                );
            }
            Action::ReplyStarted | Action::ReplyFailed(_) => {
                assert!(self.started.is_some(), "{context}");
                assert!(self.reply.is_none(), "Start answered twice: {context}");
                self.reply = Some((self.now, action));
            }
        }
    }

    fn check_event(&self, event: Event, before: Phase, actions: &[Action]) {
        let context = format!("{before:?}: {event:?} → {actions:?}");
        if before == Phase::Stopped {
            let allowed = |action: &Action| {
                matches!(action, Action::PassOn(_) | Action::RecordHook(..))
                    || (matches!(event, Event::Started { .. }) && *action == Action::ReplyStarted)
            };
            assert!(actions.iter().all(allowed), "{context}");
        }
        let Event::KillRequested { signal, .. } = event else {
            return;
        };
        let deliver = Action::PassOn(signal);
        if signal == SIGKILL {
            assert_eq!(
                actions.first(),
                Some(&deliver),
                "SIGKILL waits for nothing: {context}"
            );
        }
        if !self.stops(signal) || matches!(before, Phase::Created | Phase::Stopped) {
            let others = |action: &Action| {
                let killed = Some(Abort::Killed);
                matches!(action, Action::AbortHook(_, Abort::Killed))
                    || matches!(action, Action::RecordHook(_, why) if *why == killed)
            };
            assert_eq!(actions.first(), Some(&deliver), "{context}");
            assert!(actions[1..].iter().all(others), "{context}");
        }
        if matches!(before, Phase::PreStop | Phase::Signalled)
            && signal != SIGKILL
            && self.stops(signal)
        {
            assert!(actions.is_empty(), "a second stop signal: {context}");
        }
    }

    /// Whether a signal is a stop signal, said in the contract's own words.
    fn stops(&self, signal: i32) -> bool {
        let Some(timing) = self.timing() else {
            return false;
        };
        let always = [15, 2, 3, 37];
        (1..=64).contains(&signal)
            && signal != SIGKILL
            && (self.settings.cri
                || always.contains(&signal)
                || timing.stop_signal == Some(signal)
                || timing.stop_signals.contains(&signal))
    }

    fn check_state(&self) {
        if let Some(at) = self.machine.next_timer() {
            assert!(at > self.now, "a timer in the past");
        }
        assert_eq!(self.exited, self.machine.phase() == Phase::Stopped);
        assert_eq!(
            self.machine.is_start_pending(),
            self.started.is_some() && self.reply.is_none()
        );
        self.check_start();
        self.check_grace();
        if self.exited {
            assert!(self.hook.is_none(), "a hook outlives the container");
            assert_eq!(self.machine.next_timer(), None);
        }
    }

    fn check_start(&self) {
        let Some((started, deadline)) = self.started else {
            return;
        };
        let has_hook = self
            .timing()
            .is_some_and(|timing| timing.post_start.is_some());
        let ignored = self
            .timing()
            .and_then(|t| t.post_start)
            .is_some_and(|hook| hook.ignore_failure);
        match self.reply {
            Some((_, Action::ReplyStarted)) => {
                assert!(
                    !has_hook || self.post_start_succeeded || ignored || self.exited,
                    "Running too early"
                );
            }
            Some(_) => assert!(has_hook && !self.post_start_succeeded),
            None => {
                assert!(has_hook && !self.exited, "Start is left alone");
                let late = deadline.is_some_and(|by| by > started && self.now >= by);
                assert!(!late, "Start is answered after its deadline");
            }
        }
    }

    /// Who sends SIGKILL, and when.
    fn check_grace(&self) {
        let Some((t0, fails_start)) = self.stop else {
            return assert_eq!(self.kills, 0);
        };
        let (Some(timing), Some(termination)) = (self.timing(), self.machine.termination()) else {
            panic!("a sequence without a lifecycle");
        };
        let mut end = t0 + timing.grace;
        if fails_start && let Some((_, Some(deadline))) = self.started {
            end = end.min(deadline.saturating_sub(RESERVE).max(t0));
        }
        let owned = fails_start || !self.settings.cri || timing.grace_is_ours;
        if !self.exited {
            assert_eq!(
                self.kills,
                usize::from(owned && self.now >= end),
                "SIGKILL at t0 + G"
            );
        }
        let window = end - t0;
        let reserve = if window > 2 * RESERVE {
            RESERVE
        } else {
            window - window / 2
        };
        let latest = end - reserve;
        self.check_signal(termination, latest, owned && window.is_zero());
    }

    /// The signal goes out in time, whatever the hook does.
    fn check_signal(&self, termination: &Termination, latest: Time, killed_at_once: bool) {
        let late = self.now >= latest && !self.exited && termination.killed_at.is_none();
        assert!(
            !late || termination.signalled_at.is_some() || killed_at_once,
            "no signal before SIGKILL"
        );
        if let Some(at) = termination.signalled_at {
            assert!(at <= latest && !killed_at_once);
        }
        if let Some((HookKind::PreStop, since)) = self.hook {
            assert!(self.now < latest && since == termination.requested_at);
        }
    }

    fn timing(&self) -> Option<&podhook_hooks::sequence::Timing> {
        self.settings.lifecycle.as_ref()
    }

    /// Nothing more happens but timers, then init exits: everything must come to its end.
    pub fn finish(mut self) {
        for _ in 0..8 {
            let Some(at) = self.machine.next_timer() else {
                break;
            };
            self.now = at;
            self.event(Event::Timer);
        }
        assert_eq!(self.machine.next_timer(), None, "timers without end");
        assert!(self.hook.is_none(), "a hook without limit");
        assert!(!self.machine.is_start_pending(), "Start without an answer");
        self.event(Event::InitExited);
        self.event(Event::Timer);
        assert_eq!(self.machine.phase(), Phase::Stopped);
        assert!(self.unrecorded.is_empty(), "a hook without a record");
    }
}

fn rank(phase: Phase) -> usize {
    let order = [
        Phase::Created,
        Phase::PostStart,
        Phase::Running,
        Phase::PreStop,
        Phase::Signalled,
        Phase::Killed,
        Phase::Stopped,
    ];
    order.iter().position(|known| *known == phase).unwrap()
}
