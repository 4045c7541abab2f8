//! /tmp/message of the node: the third tutorial pod writes it.

use std::fs;
use std::path::Path;

/// The file, by its path on the node.
pub const PATH: &str = "/tmp/message";
/// What the pod's preStop hook writes into it.
pub const TEXT: &str = "Hello from the preStop Handler\n";

/// A file of the user's stays as it is: the demo does not start. One that an earlier demo left is removed.
pub fn refuse_to_overwrite() -> Result<(), String> {
    remove();
    if Path::new(PATH).symlink_metadata().is_ok() {
        return Err(format!(
            "{PATH} exists and the third pod writes it: move it away first"
        ));
    }
    Ok(())
}

/// Removes the file if it is the pod's.
pub fn remove() {
    if fs::read_to_string(PATH).is_ok_and(|text| text == TEXT) {
        let _ = fs::remove_file(PATH);
    }
}
