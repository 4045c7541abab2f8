//! Carries out what the sequence decides: hooks, signals, the reply to Start, the record.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use containerd_shim_protos::events::task::TaskStart;
use podhook_hooks::config::Config;
use podhook_hooks::counters::How;
use podhook_hooks::exec::spec::Spec;
use podhook_hooks::handler::net::Statuses;
use podhook_hooks::handler::{HookResult, Outcome};
use podhook_hooks::lifecycle::{Hook, Lifecycle, Pod, attempt};
use podhook_hooks::sequence::{
    Abort, Action, Advice, Cause, Event, HookKind, Phase, Sequence, Settings, Skip, Time,
};
use podhook_hooks::signal;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::process::ExitInfo;
use super::{Container, hooks};
use crate::containerd::log::Labels;
use crate::error::{Error, Result};
use crate::server::shim::Shim;

/// How long the reply of a failed Start waits for what its aborted hook printed.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);
/// How long an init that is on its way out is waited for: the processes of its pid namespace die first.
const INIT_END_LIMIT: Duration = Duration::from_secs(5);
/// How long the handling of init's end may take; what is left of a shared pid namespace is killed first.
const STOPPED_LIMIT: Duration = Duration::from_secs(5);

/// The lifecycle of one container as it goes.
pub(super) struct Driver {
    pub(super) sequence: Sequence,
    pub(super) lifecycle: Option<Lifecycle>,
    /// Who waits for Start.
    pub(super) reply: Option<oneshot::Sender<Result<()>>>,
    pub(super) records: super::record::Records,
    /// What is a success of an `httpGet`.
    pub(super) http_success: Statuses,
    pub(super) advice: Advice,
    /// The pod's names in the log.
    _labels: Option<Labels>,
    origin: Instant,
    origin_wall: SystemTime,
    pub(super) running: Vec<Running>,
    failed: Option<Cause>,
    post_start: Option<HookResult>,
    pub(super) hook_done: Arc<Notify>,
    /// Start has succeeded, and is to be told so.
    pub(super) started: bool,
    /// Somebody gives up hooks that do not die.
    pub(super) settling: bool,
    /// The sequence has sent SIGKILL.
    own_kill: bool,
    pub(super) phase: watch::Sender<Phase>,
    timer: Option<AbortHandle>,
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

/// A hook that runs.
pub(super) struct Running {
    pub(super) kind: HookKind,
    abort: Option<oneshot::Sender<()>>,
    pub(super) cause: Option<Abort>,
    /// It was ended, does not die, and has its result in the record nevertheless.
    pub(super) given_up: bool,
}

impl Driver {
    /// The driver of a container that exists but was not started.
    pub(super) fn new(
        settings: Settings,
        lifecycle: Option<Lifecycle>,
        spec: &Spec,
        id: &str,
        shim: &Shim,
        config: &Config,
    ) -> Self {
        let advice = Advice {
            cri: settings.cri,
            config: config.path.clone(),
        };
        let records = super::record::Records::new(lifecycle.is_some(), spec, id, &shim.namespace);
        Self {
            sequence: Sequence::new(settings),
            lifecycle,
            reply: None,
            records,
            http_success: config.http_success,
            advice,
            _labels: labels(spec, id),
            origin: Instant::now(),
            origin_wall: SystemTime::now(),
            running: Vec::new(),
            failed: None,
            post_start: None,
            hook_done: Arc::default(),
            started: false,
            settling: false,
            own_kill: false,
            phase: watch::Sender::new(Phase::Created),
            timer: None,
        }
    }

    /// The sequence's time.
    pub(super) fn now(&self) -> Time {
        self.origin.elapsed()
    }

    /// The sequence's time as a user reads it.
    pub(super) fn wall(&self, time: Time) -> SystemTime {
        self.origin_wall + time
    }

    fn hook(&self, kind: HookKind) -> Option<&Hook> {
        let lifecycle = self.lifecycle.as_ref()?;
        match kind {
            HookKind::PostStart => lifecycle.post_start.as_ref(),
            HookKind::PreStop => lifecycle.pre_stop.as_ref(),
        }
    }

    fn abort(&mut self, kind: HookKind, cause: Abort) {
        for running in self
            .running
            .iter_mut()
            .filter(|running| running.kind == kind)
        {
            running.cause.get_or_insert(cause);
            if let Some(abort) = running.abort.take() {
                let _ = abort.send(());
            }
        }
    }
}

impl Container {
    pub(super) fn driver(&self) -> MutexGuard<'_, Driver> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the sequence what has happened and does what it says. Returns the signal that a Kill is
    /// to deliver itself.
    pub(super) fn step(self: &Arc<Self>, event: Event) -> Option<i32> {
        let mut guard = self.driver();
        let driver = &mut *guard;
        let before = driver.sequence.phase();
        let now = driver.now();
        let mut deliver = None;
        for action in driver.sequence.step(now, event) {
            match action {
                Action::RunHook(kind) => self.run_hook(driver, kind),
                Action::AbortHook(kind, cause) => driver.abort(kind, cause),
                Action::SkipHook(kind, skip) => self.skip_hook(driver, kind, skip),
                Action::Deliver(signal) => deliver = Some(signal),
                Action::Signal(signal) => self.signal_init(signal),
                Action::Kill => {
                    driver.own_kill = true;
                    self.kill_init();
                }
                Action::ReplyStarted => driver.started = true,
                Action::ReplyFailed(cause) => driver.failed = Some(cause),
            }
        }
        self.arm_timer(driver);
        let phase = driver.sequence.phase();
        driver.phase.send_replace(phase);
        if phase != before && driver.lifecycle.is_some() {
            log::info!(id = self.id.as_str(), phase:? = phase; "lifecycle");
        }
        self.settle(driver);
        let reply_now =
            driver.failed.is_some() && event != Event::InitExited && phase != Phase::Stopped;
        drop(guard);
        if reply_now {
            // Init would not die in time: the client is told before its deadline.
            tokio::spawn(Arc::clone(self).reply_failed_start());
        }
        deliver
    }

    pub(super) fn reply_started(&self, driver: &mut Driver) {
        self.lock().running = true;
        self.publisher.publish(TaskStart {
            container_id: self.id.clone(),
            pid: self.pid(),
            ..Default::default()
        });
        if let Some(reply) = driver.reply.take() {
            let _ = reply.send(Ok(()));
        }
    }

    /// Answers a Start whose postStart failed; nothing where it did not.
    pub(super) async fn reply_failed_start(self: Arc<Self>) {
        let (cause, done) = {
            let driver = self.driver();
            match driver.failed {
                Some(cause) if driver.reply.is_some() => (cause, Arc::clone(&driver.hook_done)),
                _ => return,
            }
        };
        let finished = async {
            loop {
                let notified = done.notified();
                if self.driver().post_start.is_some() {
                    return;
                }
                notified.await;
            }
        };
        if tokio::time::timeout(OUTPUT_LIMIT, finished).await.is_err() {
            self.give_up_hooks();
        }
        let mut driver = self.driver();
        let hook = driver.hook(HookKind::PostStart).cloned();
        let message = hooks::failure(
            hook.as_ref(),
            cause,
            driver.post_start.as_ref(),
            &driver.advice,
        );
        if let Some(reply) = driver.reply.take() {
            let _ = reply.send(Err(Error::Unknown(message)));
        }
    }

    fn run_hook(self: &Arc<Self>, driver: &mut Driver, kind: HookKind) {
        let Some(hook) = driver.hook(kind).cloned() else {
            log::error!(id = self.id.as_str(); "no {kind} hook to run");
            return;
        };
        let (abort, aborted) = oneshot::channel();
        driver.running.push(Running {
            kind,
            abort: Some(abort),
            cause: None,
            given_up: false,
        });
        driver.records.hook_started(kind, &hook.handler);
        log::info!(id = self.id.as_str(), hook = kind.to_string().as_str(), handler = hook.handler.describe().as_str(); "hook starts");
        let container = Arc::clone(self);
        let run = async move {
            let result = container.execute(&hook, aborted).await;
            if matches!(result.outcome, Outcome::Failed(_)) {
                container.let_init_end().await;
            }
            container.hook_done(kind, result);
        };
        tokio::spawn(crate::containerd::log::of_container(self.id.clone(), run));
    }

    /// A hook that dies with its container has not failed: the kernel kills it, or takes away what it needs, before
    /// init's own end can be seen. Waits until the sequence knows of that end, if it is one; not a moment where init
    /// goes on.
    async fn let_init_end(&self) {
        if self.init.is_ending(INIT_END_LIMIT).await {
            let mut phase = self.driver().phase.subscribe();
            let stopped = phase.wait_for(|phase| *phase == Phase::Stopped);
            let _ = tokio::time::timeout(STOPPED_LIMIT, stopped).await;
        }
    }

    fn hook_done(self: &Arc<Self>, kind: HookKind, result: HookResult) {
        let succeeded = result.succeeded();
        // A request has no child to be reaped, which is what else tells of work.
        crate::host::memory::worked();
        {
            let mut driver = self.driver();
            let at = driver
                .running
                .iter()
                .position(|running| running.kind == kind);
            let ran = at.map(|at| driver.running.swap_remove(at));
            let cause = ran.as_ref().and_then(|hook| hook.cause);
            let outcome = {
                let driver = &mut *driver;
                let mut why = cause.map(|cause| driver.advice.abort(cause));
                if let Some(why) = &mut why {
                    why.push_str(&not_killed(&result));
                }
                driver.records.hook_finished(kind, &result, cause.zip(why))
            };
            let mut described = String::new();
            if let Some(hook) = driver.hook(kind) {
                let (handler, verdict) = (hook.handler.kind(), outcome.result.as_str());
                self.counters
                    .lock()
                    .hook_ended(kind, handler, verdict, &result);
                described = hook.handler.describe();
            }
            log::info!(
                id = self.id.as_str(), hook = kind.to_string().as_str(), handler = described.as_str(),
                result = outcome.result.as_str(), message = outcome.message.as_deref().unwrap_or_default();
                "hook ends"
            );
            if result.dropped > 0 {
                log::warn!(
                    id = self.id.as_str(), hook = kind.to_string().as_str(), bytes = result.dropped;
                    "hook output dropped: nobody reads the container's output"
                );
            }
            if kind == HookKind::PostStart {
                driver.post_start = Some(result);
            }
            driver.hook_done.notify_waiters();
        }
        self.step(Event::HookDone {
            hook: kind,
            succeeded,
        });
    }

    fn skip_hook(&self, driver: &mut Driver, kind: HookKind, skip: Skip) {
        let why = driver.advice.skip(skip);
        let level = match skip.is_mishap() {
            true => log::Level::Warn,
            false => log::Level::Info,
        };
        log::log!(level, id = self.id.as_str(), hook = kind.to_string().as_str(), result = "Skipped"; "{why}");
        if let Some(handler) = driver.hook(kind).map(|hook| hook.handler.clone()) {
            driver.records.hook_skipped(kind, &handler, why);
            self.counters.lock().hook_skipped(kind, handler.kind());
        }
    }

    fn arm_timer(self: &Arc<Self>, driver: &mut Driver) {
        if let Some(timer) = driver.timer.take() {
            timer.abort();
        }
        let Some(at) = driver.sequence.next_timer() else {
            return;
        };
        let deadline = driver.origin + at;
        let container = Arc::downgrade(self);
        let timer = tokio::spawn(async move {
            // tokio's timer counts in milliseconds: one more is never too early.
            tokio::time::sleep_until(deadline + Duration::from_millis(1)).await;
            if let Some(container) = container.upgrade() {
                // In a task of its own: this one is aborted when the next timer is armed.
                tokio::spawn(async move { container.step(Event::Timer) });
            }
        });
        driver.timer = Some(timer.abort_handle());
    }

    /// Records init's exit.
    pub(super) fn record_exit(&self, exit: ExitInfo) {
        let mut driver = self.driver();
        driver.records.exited(exit);
        if driver.lifecycle.is_some() {
            let how = How::of(driver.sequence.termination(), driver.own_kill);
            self.counters.terminated(how);
        }
        self.update_record(&mut driver);
    }

    /// Writes the record of a container that has just been created.
    pub(super) fn write_record(&self) {
        self.update_record(&mut self.driver());
    }

    pub(super) fn update_record(&self, driver: &mut Driver) {
        let phase = driver.sequence.phase();
        let termination = driver.sequence.termination().map(|t| super::record::Times {
            signal: signal::name(t.signal),
            grace: t.grace,
            requested_at: driver.wall(t.requested_at),
            signalled_at: t.signalled_at.map(|at| driver.wall(at)),
            killed_at: t.killed_at.map(|at| driver.wall(at)),
        });
        driver
            .records
            .update(phase, termination, &self.bundle.join("podhook.json"));
    }
}

/// What an abort did not reach, for the message.
fn not_killed(result: &HookResult) -> String {
    let why = match (&result.by_fallback, &result.session_only) {
        (Some(reason), _) => format!("run by the OCI runtime ({reason})"),
        (None, Some(reason)) => format!("without a cgroup of its own ({reason})"),
        (None, None) => return String::new(),
    };
    format!("; {why}: what left its session was not killed")
}
