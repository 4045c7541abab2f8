//! What can go wrong with a record.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A record that could not be written.
#[derive(Debug, Error)]
pub enum RecordError {
    /// It has no JSON form.
    #[error("encode record: {source}")]
    Encode {
        #[source]
        source: serde_json::Error,
    },
    /// Making, filling or moving the temporary file failed.
    #[error("{operation} {path}: {source}")]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}
