//! Keeps `podhook.json`: what users see of a container's lifecycle.

use std::path::Path;
use std::time::{Duration, SystemTime};

use podhook_hooks::exec::spec::Spec;
use podhook_hooks::handler::{HookRun, Outcome};
use podhook_hooks::journal::{Entry, Event};
use podhook_hooks::lifecycle::{Handler, HandlerKind, Pod, text};
use podhook_hooks::moment::Moment;
use podhook_hooks::record::{self, HookRecord, HookResult, Record, TerminationRecord};
use podhook_hooks::sequence::{Abort, HookKind, Phase};
use podhook_hooks::signal;

use super::news::News;
use super::process::ExitInfo;

/// The record of a container with a lifecycle; nothing for one without.
pub struct Records {
    record: Option<Record>,
    written: Option<Record>,
    /// When hooks were started.
    began: Vec<(HookKind, Moment)>,
    /// The last one could not be written.
    is_behind: bool,
    news: News,
}

/// The termination's times on the wall clock.
pub struct Times {
    pub signal: String,
    /// G.
    pub grace: Duration,
    /// When the stop was asked for.
    pub requested_at: SystemTime,
    /// When the stop signal went out.
    pub signalled_at: Option<SystemTime>,
    /// When SIGKILL went out.
    pub killed_at: Option<SystemTime>,
}

/// How a hook ended, for the log.
pub struct Ended {
    /// The result as the record has it.
    pub result: HookResult,
    /// Why it did not succeed.
    pub message: Option<String>,
}

impl Records {
    /// The record of container `id`, where it has a lifecycle.
    pub fn new(has_lifecycle: bool, spec: &Spec, id: &str, namespace: &str) -> Self {
        let record = has_lifecycle
            .then(|| Record::new(id, namespace, Pod::from_annotations(&spec.annotations)));
        Self {
            record,
            written: None,
            began: Vec::new(),
            is_behind: false,
            news: News::default(),
        }
    }

    /// Whether the file is behind the record in memory.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    pub fn hook_started(&mut self, kind: HookKind, handler: &Handler) {
        let Some(record) = &mut self.record else {
            return;
        };
        let mut hook = HookRecord::of(kind, handler);
        let began = Moment::now();
        hook.started_at = Some(began.wall().into());
        record.hooks.push(hook);
        self.began.push((kind, began));
    }

    /// A hook does not run.
    pub fn hook_skipped(&mut self, kind: HookKind, handler: &Handler, why: String) {
        let Some(record) = &mut self.record else {
            return;
        };
        let mut hook = HookRecord::of(kind, handler);
        hook.result = Some(HookResult::Skipped.into());
        hook.message = Some(why);
        record.hooks.push(hook);
    }

    /// A hook was ended, and does not die: its result stands, what else there is to know comes later.
    pub fn hook_given_up(&mut self, kind: HookKind, cause: Abort, why: String) {
        let began = self.began.iter().rev().find(|(hook, _)| *hook == kind);
        let began = began.map_or_else(Moment::now, |(_, began)| *began);
        let Some((at, hook)) = self.running(kind) else {
            return;
        };
        let took = began.elapsed();
        let verdict = match cause {
            Abort::TimedOut { .. } => HookResult::TimedOut,
            _ => HookResult::Aborted,
        };
        hook.result = Some(verdict.into());
        hook.message = Some(why);
        hook.finished_at = Some(began.wall_after(took).into());
        hook.duration_ms = Some(took.as_secs_f64() * 1000.0);
        self.news.given_up(at);
    }

    /// The run of a hook that has not come to its end yet, as far as the record knows, and its place.
    fn running(&mut self, kind: HookKind) -> Option<(usize, &mut HookRecord)> {
        let hooks = self.record.as_mut()?.hooks.iter_mut().enumerate();
        hooks
            .rev()
            .find(|(_, hook)| hook.hook.known() == Some(kind))
    }

    /// A hook has ended, by itself or because it was aborted for a cause, which comes in words too.
    pub fn hook_finished(
        &mut self,
        kind: HookKind,
        result: &HookRun,
        cause: Option<(Abort, String)>,
    ) -> Ended {
        let (verdict, message) = verdict(result, cause);
        // It may name what the container has called something.
        let message = message.map(|message| text::visible(&message).into_owned());
        let ended = Ended {
            result: verdict,
            message: message.clone(),
        };
        let Some((at, hook)) = self.running(kind) else {
            return ended;
        };
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        hook.result = Some(verdict.into());
        hook.started_at = Some(result.started_at().into());
        hook.finished_at = Some(result.finished_at().into());
        hook.duration_ms = Some(result.took.as_secs_f64() * 1000.0);
        hook.exit_code = result.exit_code;
        hook.signal = result.signal.map(signal::name);
        hook.http_status = result.http_status;
        hook.message = message;
        let runs_processes = hook
            .handler
            .known()
            .is_some_and(HandlerKind::runs_processes);
        if runs_processes {
            hook.cpu_user_usec = Some(micros(result.cpu_user));
            hook.cpu_system_usec = Some(micros(result.cpu_system));
            hook.memory_peak_bytes = result.memory_peak;
        }
        if runs_processes || !result.output.is_empty() {
            hook.output = Some(record::tail(&result.output));
        }
        self.news.complete(at);
        ended
    }

    /// What the node's journal is to be told now.
    pub fn news(&mut self) -> Vec<Entry> {
        self.record
            .as_ref()
            .map_or_else(Vec::new, |record| self.news.of(record))
    }

    /// An entry of the journal about this container.
    pub fn entry(&self, event: Event) -> Option<Entry> {
        Some(Entry::now(event, self.record.as_ref()?))
    }

    pub fn exited(&mut self, exit: ExitInfo) {
        let Some(record) = &mut self.record else {
            return;
        };
        let termination = record.termination.get_or_insert_default();
        termination.exited(exit.at, exit.status);
    }

    /// Brings the record up to date and writes it, if anything has changed.
    pub fn update(&mut self, phase: Phase, times: Option<Times>, path: &Path) {
        let Some(record) = &mut self.record else {
            return;
        };
        record.phase = phase.into();
        if let Some(times) = times {
            let termination: &mut TerminationRecord = record.termination.get_or_insert_default();
            termination.signal = Some(times.signal);
            termination.grace_period_seconds = Some(times.grace.as_secs());
            termination.requested_at = Some(times.requested_at.into());
            termination.signalled_at = times.signalled_at.map(Into::into);
            termination.killed_at = times.killed_at.map(Into::into);
        }
        if self.written.as_ref() == Some(record) {
            return;
        }
        // A record that cannot be written (the bundle is gone) takes nothing else down.
        match record.write(path) {
            Ok(()) => {
                self.written = Some(record.clone());
                if std::mem::take(&mut self.is_behind) {
                    log::info!("{} is written again", path.display());
                }
            }
            Err(e) if self.is_behind => log::debug!("{e}"),
            Err(e) => {
                self.is_behind = true;
                log::warn!("{e}: trying again");
            }
        }
    }
}

fn verdict(result: &HookRun, cause: Option<(Abort, String)>) -> (HookResult, Option<String>) {
    match (&result.outcome, cause) {
        // It had ended before the abort reached it, but the sequence has gone on from the abort.
        (Outcome::Succeeded, None | Some((Abort::InitExited | Abort::Killed, _))) => {
            (HookResult::Succeeded, None)
        }
        (_, Some((Abort::TimedOut { .. }, why))) => (HookResult::TimedOut, Some(why)),
        (_, Some((_, why))) => (HookResult::Aborted, Some(why)),
        (Outcome::Failed(message), None) => (HookResult::Failed, Some(message.clone())),
        (Outcome::Aborted, None) => (HookResult::Aborted, None),
    }
}
