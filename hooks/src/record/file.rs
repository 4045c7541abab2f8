//! Writing and reading the file.

use std::fs;
use std::path::Path;

use super::{Record, RecordError};
use crate::lifecycle::text;
use crate::linux::file;

/// The record's name in the bundle.
pub const FILE_NAME: &str = "podhook.json";

impl Record {
    /// Writes the record to `path`, mode 0600. A reader sees the old or the new one, never a part: the
    /// file is replaced by a rename. One writer at a time.
    ///
    /// Nothing in the file acts on a terminal: what JSON leaves as it is (DEL, C1 controls, marks that reorder
    /// text) is escaped as well.
    ///
    /// # Errors
    /// When a file cannot be made, filled or moved beside it.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let json = serde_json::to_string(self).map_err(|source| RecordError::Encode { source })?;
        let json = text::visible_json(&json);
        let line = format!("{json}\n");
        // A bundle is state of the running system.
        file::replace(path, line.as_bytes(), 0o600).map_err(|error| RecordError::Io {
            operation: error.operation,
            path: error.path,
            source: error.source,
        })
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When the file cannot be read, or is no record.
    pub fn read(path: &Path) -> Result<Record, RecordError> {
        let json = fs::read(path).map_err(|source| RecordError::Io {
            operation: "read",
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&json).map_err(|source| RecordError::Decode {
            path: path.to_owned(),
            source,
        })
    }
}
