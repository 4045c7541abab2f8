//! `podhook webhook`: what the API server asks before it stores a pod, so that manifests stay as they are and podhook
//! runs their hooks.

mod answer;
mod certificate;
mod counters;
mod expiry;
mod keys;
mod serve;
#[cfg(test)]
mod tests;

use super::error::Error as CommandError;
use crate::args::{self, WebhookCommand};

/// Runs the command.
///
/// # Errors
/// When an address cannot be listened on, the configuration is wrong, or the certificate cannot be kept.
pub async fn run(args: &args::Webhook) -> Result<(), CommandError> {
    match (&args.command, &args.serve) {
        (Some(WebhookCommand::Certificate(args)), _) => certificate::run(args).await,
        (None, Some(args)) => serve::run(args).await,
        // The command line does not allow it.
        (None, None) => Ok(()),
    }
}
