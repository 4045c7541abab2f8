//! Runs one hook, and words its failure.

use std::sync::Arc;

use podhook_hooks::{
    exec::Children,
    handler::{self, HookResult, Outcome},
    lifecycle::{Handler, Hook, text},
    record,
    sequence::Cause,
};
use tokio::sync::oneshot;

use super::Container;

impl Container {
    /// Runs the handler to its end, or until it is aborted.
    pub(super) async fn execute(&self, hook: &Hook, aborted: oneshot::Receiver<()>) -> HookResult {
        let abort = async {
            // A driver that is gone aborts too.
            let _ = aborted.await;
        };
        match &hook.handler {
            Handler::Exec { command } => match &self.target {
                Some(Ok(target)) => {
                    let children: Arc<dyn Children> = self.reaper.clone();
                    handler::exec::run(target, command, &children, abort, None).await
                }
                Some(Err(reason)) => HookResult::failed(reason.clone()),
                None => HookResult::failed("the container cannot be joined".to_owned()),
            },
            Handler::Sleep { seconds } => handler::sleep::run(u64::from(*seconds), abort).await,
            Handler::HttpGet { .. } | Handler::TcpSocket { .. } => {
                HookResult::failed("not supported".to_owned())
            }
        }
    }
}

/// The error of a Start whose postStart failed: users read it in `kubectl describe` and in ctr.
pub(super) fn failure(hook: Option<&Hook>, cause: Cause, result: Option<&HookResult>) -> String {
    let handler = hook.map(|hook| hook.handler.describe()).unwrap_or_default();
    let reason = match (cause, result.map(|result| &result.outcome)) {
        (Cause::Aborted(abort), _) => abort.to_string(),
        (Cause::HookFailed, Some(Outcome::Failed(message))) => message.clone(),
        (Cause::HookFailed, _) => "failed".to_owned(),
    };
    let output = result
        .map(|result| text::neutral(record::tail(&result.output).trim()).to_string())
        .unwrap_or_default();
    let separator = if output.is_empty() { "" } else { ": " };
    format!("FailedPostStartHook: {handler}: {reason}{separator}{output}")
}
