//! The file: written by the shim, read by the command.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

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

    /// Reads a record that is JSON already.
    ///
    /// # Errors
    /// When it is no object, or a field has another type.
    pub fn from_json(json: &Value) -> Result<Record, serde_json::Error> {
        // To serde an array is a structure, too.
        if !json.is_object() {
            return Err(serde::de::Error::custom("no object"));
        }
        Record::deserialize(json)
    }
}
