//! The driver of one container's [`Sequence`]: it tells it what has happened, keeps the record, the results of hooks
//! and the answer to Start for it, and says what the container has to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use podhook_hooks::config::Config;
use podhook_hooks::counters::{How, ledger};
use podhook_hooks::exec::spec::Spec;
use podhook_hooks::handler::HookRun;
use podhook_hooks::journal::{Entry, Event as Told, Journal};
use podhook_hooks::lifecycle::{Hook, Lifecycle, Pod, attempt};
use podhook_hooks::moment::Moment;
use podhook_hooks::sequence::{
    Abort, Action, Advice, Cause, Event, HookKind, Phase, Sequence, Settings, Skip, Time,
};
use podhook_hooks::signal;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::deps::Deps;
use super::hooks;
use super::process::ExitInfo;
use super::record::{Records, Times};
use crate::containerd::log::Labels;
use crate::counters::Counting;
use crate::error::{Error, Result};
use crate::journal::Journaling;

pub(super) struct Driver {
    id: String,
    sequence: Sequence,
    lifecycle: Option<Lifecycle>,
    records: Records,
    record_path: PathBuf,
    counters: Arc<Counting>,
    journaling: Arc<Journaling>,
    /// None where nothing is kept.
    journal: Option<Arc<Journal>>,
    advice: Advice,
    /// The pod's names in the log.
    _labels: Option<Labels>,
    origin: Instant,
    /// The sequence's time at which the stop was asked for, and that moment.
    stop: Option<(Time, Moment)>,
    hooks: Vec<RunningHook>,
    /// How postStart went, for the answer to Start.
    post_start: Option<HookRun>,
    /// Where the answer to Start goes.
    reply: Option<oneshot::Sender<Result<()>>>,
    /// The grace period was over.
    own_kill: bool,
    phase: watch::Sender<Phase>,
    changed: Arc<Notify>,
    /// A task writes the record again that could not be written.
    is_retried: bool,
    timer: Option<AbortHandle>,
}

/// A hook that runs, or has ended and is not recorded yet.
struct RunningHook {
    kind: HookKind,
    abort: Option<oneshot::Sender<()>>,
    result: Option<HookRun>,
}

impl RunningHook {
    /// Whether its handler has done its work: it takes no abort any more.
    fn is_over(&self) -> bool {
        self.abort.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

/// What the container has to do.
pub(super) enum Effect {
    /// Run this hook, until it is aborted.
    RunHook(HookKind, Hook, oneshot::Receiver<()>),
    /// Pass on the signal of the Kill at hand.
    PassOn(i32),
    /// Send init its stop signal.
    SendStopSignal(i32),
    /// Send init SIGKILL.
    Sigkill,
    /// Publish the start, then let Start return.
    Started(Option<oneshot::Sender<Result<()>>>),
}

impl Driver {
    /// The driver of a container that exists but was not started.
    pub(super) fn new(
        settings: Settings,
        lifecycle: Option<Lifecycle>,
        spec: &Spec,
        id: &str,
        bundle: &Path,
        deps: &Deps,
        config: &Config,
    ) -> Self {
        let advice = Advice {
            cri: settings.cri,
            config: config.path.clone(),
        };
        let keys = lifecycle.as_ref().map(|_| &config.journal);
        let journal = keys.and_then(|keys| Journal::of(keys, ledger::state_of(bundle).as_deref()));
        Self {
            id: id.to_owned(),
            sequence: Sequence::new(settings),
            records: Records::new(lifecycle.is_some(), spec, id, &deps.namespace),
            lifecycle,
            record_path: bundle.join("podhook.json"),
            counters: Arc::clone(&deps.counters),
            journaling: Arc::clone(&deps.journal),
            journal: journal.map(Arc::new),
            advice,
            _labels: labels(spec, id),
            origin: Instant::now(),
            stop: None,
            hooks: Vec::new(),
            post_start: None,
            reply: None,
            own_kill: false,
            phase: watch::Sender::new(Phase::Created),
            changed: Arc::default(),
            is_retried: false,
            timer: None,
        }
    }

    /// The sequence's time.
    pub(super) fn now(&self) -> Time {
        self.origin.elapsed()
    }

    /// Where the container is in its life.
    pub(super) fn phase(&self) -> Phase {
        self.sequence.phase()
    }

    pub(super) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Whether nothing waits for the result of a hook that was ended.
    pub(super) fn is_settled(&self) -> bool {
        self.sequence.is_settled()
    }

    /// Tells after every step.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// When [`Event::Timer`] is to be told.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        // One that is beyond what a clock can tell never comes.
        let at = self.sequence.next_timer()?;
        self.origin.checked_add(at)
    }

    /// The task that tells it: the one before is ended.
    pub(super) fn set_timer(&mut self, timer: Option<AbortHandle>) {
        if let Some(former) = std::mem::replace(&mut self.timer, timer) {
            former.abort();
        }
    }

    /// The runtime has started init; `reply` waits for Start's answer.
    pub(super) fn started(
        &mut self,
        reply: oneshot::Sender<Result<()>>,
        rpc_deadline: Option<Time>,
    ) -> Vec<Effect> {
        self.reply = Some(reply);
        self.step(Event::Started { rpc_deadline })
    }

    /// A hook has ended, with this result.
    pub(super) fn hook_ended(
        &mut self,
        kind: HookKind,
        result: HookRun,
        init_ending: bool,
    ) -> Vec<Effect> {
        let succeeded = result.succeeded();
        let mut hooks = self.hooks.iter_mut();
        if let Some(hook) = hooks.find(|hook| hook.kind == kind) {
            hook.result = Some(result);
        }
        self.step(Event::HookEnded {
            hook: kind,
            succeeded,
            init_ending,
        })
    }

    /// [`Event::Timer`]: a deadline may be over, but not for what has ended before it.
    pub(super) fn timer(&mut self, init_ending: bool) -> Vec<Effect> {
        let over = self.hooks.iter().find(|hook| hook.is_over());
        let mut effects = match over.map(|hook| hook.kind) {
            Some(kind) => self.step(Event::HookOver(kind)),
            None => Vec::new(),
        };
        if init_ending {
            effects.extend(self.step(Event::InitOver));
        }
        effects.extend(self.step(Event::Timer));
        effects
    }

    /// Tells the sequence what has happened, and does of what it says what needs no container.
    pub(super) fn step(&mut self, event: Event) -> Vec<Effect> {
        let before = self.sequence.phase();
        let mut effects = Vec::new();
        let mut replies = Vec::new();
        for action in self.sequence.step(self.now(), event) {
            match action {
                Action::RunHook(kind) => effects.extend(self.run_hook(kind)),
                Action::AbortHook(kind, _) => self.abort_hook(kind),
                Action::SkipHook(kind, skip) => self.skip_hook(kind, skip),
                Action::RecordHook(kind, why) => self.record_hook(kind, why),
                Action::GiveUpHook(kind, why) => {
                    let words = self.advice.abort(why);
                    self.records.hook_given_up(kind, why, words);
                }
                Action::PassOn(signal) => effects.push(Effect::PassOn(signal)),
                Action::SendStopSignal(signal) => effects.push(Effect::SendStopSignal(signal)),
                Action::Sigkill => {
                    self.own_kill = true;
                    effects.push(Effect::Sigkill);
                }
                Action::ReplyStarted | Action::ReplyFailed(_) => replies.push(action),
            }
        }
        self.note_stop();
        let phase = self.sequence.phase();
        self.phase.send_replace(phase);
        if phase != before && self.lifecycle.is_some() {
            log::info!(id = self.id.as_str(), phase:? = phase; "lifecycle");
        }
        if self.sequence.is_settled() {
            self.update_record();
        }
        // After the record, which whoever waits for Start may read.
        for reply in replies {
            match reply {
                Action::ReplyFailed(cause) => self.reply_failed(cause),
                _ => effects.push(Effect::Started(self.reply.take())),
            }
        }
        self.changed.notify_waiters();
        effects
    }

    fn note_stop(&mut self) {
        let asked = self.sequence.termination().map(|end| end.requested_at);
        if let Some(asked) = asked
            && self.stop.is_none_or(|(noted, _)| noted != asked)
        {
            // It was asked for before all that has been done since, the signal among it.
            let now = Moment::now();
            let moment = self.origin.checked_add(asked).map(|at| now.back_to(at));
            self.stop = Some((asked, moment.unwrap_or(now)));
        }
    }

    /// Records init's exit.
    pub(super) fn record_exit(&mut self, exit: ExitInfo) {
        self.records.exited(exit);
        if self.lifecycle.is_some() {
            let how = How::of(self.sequence.termination(), self.own_kill);
            self.counters.terminated(how);
        }
        self.update_record();
    }

    /// Writes the record, if anything has changed.
    pub(super) fn update_record(&mut self) {
        // From the moment of the stop on: a container may have run for months before, over jumps of the wall clock, and
        // nights that the machine has slept.
        let (asked, moment) = match self.stop {
            Some(stop) => stop,
            None => (self.now(), Moment::now()),
        };
        let wall = |time: Time| moment.wall_after(time.saturating_sub(asked));
        let termination = self.sequence.termination().map(|t| Times {
            signal: signal::name(t.signal),
            grace: t.grace,
            requested_at: wall(t.requested_at),
            signalled_at: t.signalled_at.map(wall),
            killed_at: t.killed_at.map(wall),
        });
        let phase = self.sequence.phase();
        self.records.update(phase, termination, &self.record_path);
        for entry in self.records.news() {
            self.keep(entry);
        }
    }

    /// Appends to the node's journal.
    fn keep(&self, entry: Entry) {
        if let Some(journal) = &self.journal {
            self.journaling.append(journal, entry);
        }
    }

    /// Whether a task is to begin that calls [`Self::retry_record`] from time to time.
    pub(super) fn begins_retries(&mut self) -> bool {
        self.records.is_behind() && !std::mem::replace(&mut self.is_retried, true)
    }

    /// Writes the record that could not be written; whether the task has nothing more to do.
    pub(super) fn retry_record(&mut self) -> bool {
        self.update_record();
        self.is_retried = self.records.is_behind();
        !self.is_retried
    }

    fn hook(&self, kind: HookKind) -> Option<&Hook> {
        let lifecycle = self.lifecycle.as_ref()?;
        match kind {
            HookKind::PostStart => lifecycle.post_start.as_ref(),
            HookKind::PreStop => lifecycle.pre_stop.as_ref(),
        }
    }

    fn run_hook(&mut self, kind: HookKind) -> Option<Effect> {
        let Some(hook) = self.hook(kind).cloned() else {
            log::error!(id = self.id.as_str(); "no {kind} hook to run");
            return None;
        };
        let (abort, aborted) = oneshot::channel();
        self.hooks.push(RunningHook {
            kind,
            abort: Some(abort),
            result: None,
        });
        self.records.hook_started(kind, &hook.handler);
        log::info!(id = self.id.as_str(), hook = kind.to_string().as_str(), handler = hook.handler.describe().as_str(); "hook starts");
        Some(Effect::RunHook(kind, hook, aborted))
    }

    fn abort_hook(&mut self, kind: HookKind) {
        for hook in self.hooks.iter_mut().filter(|hook| hook.kind == kind) {
            if let Some(abort) = hook.abort.take() {
                let _ = abort.send(());
            }
        }
    }

    fn record_hook(&mut self, kind: HookKind, why: Option<Abort>) {
        let at = self.hooks.iter().position(|hook| hook.kind == kind);
        let hook = at.map(|at| self.hooks.swap_remove(at));
        let Some(result) = hook.and_then(|hook| hook.result) else {
            log::error!(id = self.id.as_str(); "no result of {kind}");
            return;
        };
        let why = why.map(|why| (why, self.advice.abort(why) + &not_killed(&result)));
        let ended = self.records.hook_finished(kind, &result, why);
        let mut described = String::new();
        if let Some(hook) = self.hook(kind) {
            let (handler, verdict) = (hook.handler.kind(), ended.result.name());
            self.counters
                .lock()
                .hook_ended(kind, handler, verdict, &result);
            described = hook.handler.describe();
        }
        log::info!(
            id = self.id.as_str(), hook = kind.to_string().as_str(), handler = described.as_str(),
            result = ended.result.name(), message = ended.message.as_deref().unwrap_or_default();
            "hook ends"
        );
        if result.dropped > 0 {
            log::warn!(
                id = self.id.as_str(), hook = kind.to_string().as_str(), bytes = result.dropped;
                "hook output dropped: nobody reads the container's output"
            );
        }
        if kind == HookKind::PostStart {
            self.post_start = Some(result);
        }
    }

    fn skip_hook(&mut self, kind: HookKind, skip: Skip) {
        let why = self.advice.skip(skip);
        let level = match skip.is_mishap() {
            true => log::Level::Warn,
            false => log::Level::Info,
        };
        log::log!(level, id = self.id.as_str(), hook = kind.to_string().as_str(), result = "Skipped"; "{why}");
        if let Some(handler) = self.hook(kind).map(|hook| hook.handler.clone()) {
            self.records.hook_skipped(kind, &handler, why);
            self.counters.lock().hook_skipped(kind, handler.kind());
        }
    }

    fn reply_failed(&mut self, cause: Cause) {
        let Some(reply) = self.reply.take() else {
            return;
        };
        let hook = self.hook(HookKind::PostStart);
        let message = hooks::failure(hook, cause, self.post_start.as_ref(), &self.advice);
        if let Some(mut entry) = self.records.entry(Told::StartFailed) {
            entry.message = Some(message.clone());
            self.keep(entry);
        }
        let _ = reply.send(Err(Error::PostStart(message)));
    }
}

/// What the log says of a container of a pod.
fn labels(spec: &Spec, id: &str) -> Option<Labels> {
    let pod = Pod::from_annotations(&spec.annotations)?;
    let attempt = attempt(&spec.annotations).map(|attempt| attempt.to_string());
    let labels = [
        ("pod_namespace", pod.namespace),
        ("pod", pod.name),
        ("container", pod.container),
        ("attempt", attempt),
    ];
    Some(Labels::new(id, &labels))
}

/// What an abort did not reach, for the message.
fn not_killed(result: &HookRun) -> String {
    let why = match (&result.by_fallback, &result.session_only) {
        (Some(reason), _) => format!("run by the OCI runtime ({reason})"),
        (None, Some(reason)) => format!("without a cgroup of its own ({reason})"),
        (None, None) => return String::new(),
    };
    format!("; {why}: what left its session was not killed")
}
