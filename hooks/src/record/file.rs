//! Writing and reading the file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Record, RecordError};
use crate::lifecycle::text;

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
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".new");
        let new = path.with_file_name(name);
        let written = fill(&new, json.as_bytes()).and_then(|()| {
            fs::rename(&new, path).map_err(|source| failed("replace", path, source))
        });
        if written.is_err() {
            // What counts is the first error; the bundle goes with the container.
            let _ = fs::remove_file(&new);
        }
        written
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When the file cannot be read, or is no record.
    pub fn read(path: &Path) -> Result<Record, RecordError> {
        let json = fs::read(path).map_err(|source| failed("read", path, source))?;
        serde_json::from_slice(&json).map_err(|source| RecordError::Decode {
            path: path.to_owned(),
            source,
        })
    }
}

fn fill(path: &Path, json: &[u8]) -> Result<(), RecordError> {
    // A rest of a writer that died; create_new then follows no link.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", path, error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| failed("create", path, source))?;
    // No fsync: a bundle is state of the running system and does not outlive a boot.
    file.write_all(json)
        .and_then(|()| file.write_all(b"\n"))
        .map_err(|source| failed("write", path, source))
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> RecordError {
    RecordError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}
