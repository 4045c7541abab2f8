//! The `sleep` handler: needs nothing in the image.

use std::future::Future;
use std::time::Duration;

use super::{HookRun, Outcome};
use crate::moment::Moment;

/// Waits for `seconds`, or until aborted.
pub async fn run(seconds: u64, abort: impl Future<Output = ()>) -> HookRun {
    let began = Moment::now();
    let outcome = match seconds {
        // Nothing to wait for cannot be cut short.
        0 => Outcome::Succeeded,
        _ => tokio::select! {
            biased;
            () = tokio::time::sleep(Duration::from_secs(seconds)) => Outcome::Succeeded,
            () = abort => Outcome::Aborted,
        },
    };
    HookRun::new(outcome, began)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn zero_seconds_succeed_at_once_even_when_aborted() {
        let result = run(0, std::future::ready(())).await;
        assert_eq!(result.outcome, Outcome::Succeeded);
    }

    #[tokio::test]
    async fn an_abort_ends_it() {
        let result = run(u64::MAX, tokio::time::sleep(Duration::from_millis(20))).await;
        assert_eq!(result.outcome, Outcome::Aborted);
    }
}
