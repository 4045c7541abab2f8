//! The counters of all shims of the node, added up, as Prometheus reads them.

mod exposition;
mod scrape;

use std::path::PathBuf;

use super::bundles;

pub use crate::output::exposition::CONTENT_TYPE;
pub use exposition::text;
pub use scrape::{Node, Scrape};

/// Why the counters cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundles cannot be read.
    #[error(transparent)]
    Bundles(#[from] bundles::Error),
    /// The counters of ended shims cannot be read or written.
    #[error("{}: {source}", path.display())]
    Ledger {
        /// The file or its folder.
        path: PathBuf,
        source: std::io::Error,
    },
    /// Somebody else asks, for too long.
    #[error("the counters in {} are locked by another process", path.display())]
    Locked { path: PathBuf },
}
