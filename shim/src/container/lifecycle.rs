//! The container under its [`Driver`]: hooks, signals, the answer to Start.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use containerd_shim_protos::events::task::TaskStart;
use podhook_hooks::deadline;
use podhook_hooks::handler::Outcome;
use podhook_hooks::lifecycle::Hook;
use podhook_hooks::sequence::{Event, HookKind};
use podhook_hooks::task;
use podhook_hooks::trace;
use tokio::sync::oneshot;

use super::Container;
use super::driver::{Driver, Effect};

/// Between two tries to write a record, at first and at most.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

impl Container {
    pub(super) fn driver(&self) -> MutexGuard<'_, Driver> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the driver something and does what it says. Returns the signal that a Kill is to pass on itself.
    pub(super) fn drive(
        self: &Arc<Self>,
        tell: impl FnOnce(&mut Driver) -> Vec<Effect>,
    ) -> Option<i32> {
        let mut driver = self.driver();
        let mut pass_on = None;
        for effect in tell(&mut driver) {
            match effect {
                Effect::RunHook(kind, hook, aborted) => self.run_hook(kind, hook, aborted),
                Effect::PassOn(signal) => pass_on = Some(signal),
                Effect::SendStopSignal(signal) => self.send_stop_signal(signal),
                Effect::Sigkill => self.sigkill_init(),
                Effect::Started(reply) => {
                    self.publish_start();
                    if let Some(reply) = reply {
                        let _ = reply.send(Ok(()));
                    }
                }
            }
        }
        self.arm_timer(&mut driver);
        self.keep_record(&mut driver);
        pass_on
    }

    /// A record that could not be written, on a full disk say, is written as soon as it can be.
    pub(super) fn keep_record(self: &Arc<Self>, driver: &mut Driver) {
        if !driver.begins_retries() {
            return;
        }
        let container = Arc::downgrade(self);
        task::spawn(async move {
            let mut pause = RETRY_MIN;
            loop {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(RETRY_MAX);
                // After Delete there is no record any more.
                let Some(container) = container.upgrade() else {
                    return;
                };
                if container.driver().retry_record() {
                    return;
                }
            }
        });
    }

    /// The same for an event that needs nothing besides.
    pub(super) fn step(self: &Arc<Self>, event: Event) -> Option<i32> {
        self.drive(|driver| driver.step(event))
    }

    /// Waits until it is known how every hook went that was ended.
    pub(super) async fn settled(&self) {
        let changed = self.driver().changed();
        loop {
            let notified = changed.notified();
            if self.driver().is_settled() {
                return;
            }
            notified.await;
        }
    }

    fn publish_start(&self) {
        self.lock().running = true;
        self.deps.events.publish(TaskStart {
            container_id: self.id.clone(),
            pid: self.pid(),
            ..Default::default()
        });
    }

    fn run_hook(self: &Arc<Self>, kind: HookKind, hook: Hook, aborted: oneshot::Receiver<()>) {
        let container = Arc::clone(self);
        let run = async move {
            let system = &container.deps.system;
            let result = system.run_hook(&container, &hook, aborted).await;
            let failed = matches!(result.outcome, Outcome::Failed(_));
            let init_ending = failed && container.init.is_ending();
            // A request of a handler has no child; the exit of a child is what otherwise starts the return of memory.
            crate::host::memory::worked();
            container.drive(|driver| driver.hook_ended(kind, result, init_ending));
        };
        let run = trace::scope(trace::current(), run);
        task::spawn(crate::containerd::log::of_container(self.id.clone(), run));
    }

    fn arm_timer(self: &Arc<Self>, driver: &mut Driver) {
        let timer = driver.next_timer().map(|at| {
            let container = Arc::downgrade(self);
            let timer = task::spawn(async move {
                // tokio's timer counts in milliseconds: one more is never too early.
                let next = at.checked_add(Duration::from_millis(1));
                deadline::over(next.unwrap_or(at)).await;
                if let Some(container) = container.upgrade() {
                    // In a task of its own: this one is aborted when the next timer is armed.
                    task::spawn(async move {
                        let init_ending = container.init.is_ending();
                        container.drive(|driver| driver.timer(init_ending));
                    });
                }
            });
            timer.abort_handle()
        });
        driver.set_timer(timer);
    }
}
