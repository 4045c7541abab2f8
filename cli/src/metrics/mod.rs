//! `podhook metrics`: the counters of the node's shims, as Prometheus reads them.
//!
//! A shim is one process per pod and ends with it, right after the hooks that are of most interest.
//! So what is printed are sums over the node that only grow: shims leave their numbers in a file when
//! they end ([`podhook_hooks::counters::ledger`]), and both are added up here.

mod exposition;
mod file;
mod scrape;
mod serve;
mod shims;

use std::path::PathBuf;
use std::time::Duration;

use crate::args;
use crate::error::Error as CommandError;
use crate::output::print;
use crate::state;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundles cannot be read.
    #[error("{0}")]
    Bundles(String),
    /// The counters of ended shims cannot be read or written.
    #[error("{}: {source}", path.display())]
    Ledger {
        /// The file or its folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Somebody else asks, for too long.
    #[error("the counters in {} are locked by another process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The file for the textfile collector.
    #[error("cannot write {}: {source}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// An address that is no address, or cannot be listened on.
    #[error("--listen {address}: {reason}")]
    Listen {
        /// As given.
        address: String,
        /// What is wrong.
        reason: String,
    },
}

/// Runs the command.
///
/// # Errors
/// When the node's counters cannot be had; a shim that does not answer is no error, but counted.
pub async fn run(global: &args::Global, args: &args::Metrics) -> Result<(), CommandError> {
    let node = scrape::Node {
        state: state::directory(global).await,
        timeout: Duration::from_secs_f64(args.timeout),
    };
    if let Some(address) = &args.listen {
        return serve::run(node, address, args.allow_remote).await;
    }
    let text = exposition::text(&node.scrape().await?);
    match &args.output {
        Some(path) => Ok(file::replace(path, &text)?),
        None => print(&text),
    }
}
