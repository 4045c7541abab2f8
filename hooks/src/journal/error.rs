//! What can go wrong with a line of the journal.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A line that was not written.
#[derive(Debug, Error)]
pub enum JournalError {
    #[error("{operation} {path}: {source}")]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// What is there is not the journal's.
    #[error("{path}: {reason}")]
    Refused { path: PathBuf, reason: &'static str },
    /// Too long, or not JSON.
    #[error("encode a line: {0}")]
    Line(String),
    /// Somebody has had the lock for too long, and the last segment is full.
    #[error("{0}: locked by somebody for too long")]
    Locked(PathBuf),
}

impl JournalError {
    pub(super) fn io(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}
