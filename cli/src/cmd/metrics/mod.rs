//! `podhook metrics`: the counters of the node's shims, as Prometheus reads them.
//!
//! A shim is one process per pod and ends with it, right after the hooks that are of most interest.
//! So what is printed are sums over the node that only grow: shims leave their numbers in a file when
//! they end ([`podhook_hooks::counters::ledger`]), and both are added up here.

mod file;
mod serve;

use std::path::PathBuf;
use std::time::Duration;

use super::error::Error as CommandError;
use crate::args;
use crate::node::{metrics as node, state};
use crate::output::print;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file for the textfile collector.
    #[error("cannot write {}: {source}", path.display())]
    Output {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Runs the command.
///
/// # Errors
/// When the node's counters cannot be had; a shim that does not answer is no error, but counted.
pub async fn run(global: &args::Global, args: &args::Metrics) -> Result<(), CommandError> {
    let node = node::Node {
        state: state::directory(global).await,
        timeout: Duration::from_secs_f64(args.timeout),
    };
    if let Some(address) = &args.listen {
        return serve::run(node, address, args.allow_remote).await;
    }
    let text = node::text(&node.scrape().await?);
    match &args.output {
        Some(path) => Ok(file::replace(path, &text)?),
        None => Ok(print(&text)?),
    }
}
