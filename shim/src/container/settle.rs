//! A result comes before what follows from it: the record, the Running state and the answer to Start wait for a hook
//! that was ended. Signals do not.

use std::sync::Arc;
use std::time::Duration;

use super::Container;
use super::lifecycle::{Driver, Running};

/// How long they wait for the hook to be dead: it is, in a moment, unless it is frozen or the kernel holds it.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

impl Driver {
    /// Whether a hook was ended of which the record does not know how it went. What comes after the hook is recorded
    /// and answered with its result, and not before.
    fn is_unsettled(&self) -> bool {
        let unsettled = |hook: &Running| hook.cause.is_some() && !hook.given_up;
        self.running.iter().any(unsettled)
    }
}

impl Container {
    /// Brings the record up to date and answers Start, once what is known of the hooks is in the record.
    pub(super) fn settle(self: &Arc<Self>, driver: &mut Driver) {
        if driver.is_unsettled() {
            if !std::mem::replace(&mut driver.settling, true) {
                let container = Arc::clone(self);
                tokio::spawn(async move {
                    let settled = tokio::time::timeout(SETTLE_LIMIT, container.settled());
                    if settled.await.is_err() {
                        container.give_up_hooks();
                    }
                });
            }
            return;
        }
        driver.settling = false;
        self.update_record(driver);
        if std::mem::take(&mut driver.started) {
            self.reply_started(driver);
        }
    }

    /// Waits until the record knows how every hook went that was ended.
    pub(super) async fn settled(&self) {
        let done = Arc::clone(&self.driver().hook_done);
        loop {
            let notified = done.notified();
            if !self.driver().is_unsettled() {
                return;
            }
            notified.await;
        }
    }

    /// Records the result of hooks that were ended and do not die.
    pub(super) fn give_up_hooks(self: &Arc<Self>) {
        let mut guard = self.driver();
        let driver = &mut *guard;
        for hook in &mut driver.running {
            let Some(cause) = hook.cause.filter(|_| !hook.given_up) else {
                continue;
            };
            hook.given_up = true;
            let why = driver.advice.abort(cause);
            driver.records.hook_given_up(hook.kind, cause, why);
        }
        self.settle(driver);
        driver.hook_done.notify_waiters();
    }
}
