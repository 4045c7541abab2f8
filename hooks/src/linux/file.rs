//! Files that are replaced as a whole: a reader sees the old one or the new one, never a part.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a file was not replaced.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {source}", path.display())]
pub struct ReplaceError {
    pub operation: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

/// Replaces the file at `path`, with exactly these permissions, by a rename of a hidden file beside it (`.NAME.new`). One
/// writer at a time; where there may be more, [`replace_among_writers`]. Not flushed to the disk: what is written so
/// does not outlive a boot.
///
/// # Errors
/// With the operation that failed; the old file stays then, and nothing is left beside it.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), ReplaceError> {
    replace_by(path, ".new", content, mode)
}

/// The same where processes may write the file at once: each has a hidden file of its own, and the last one wins.
///
/// # Errors
/// As [`replace`].
pub fn replace_among_writers(path: &Path, content: &[u8], mode: u32) -> Result<(), ReplaceError> {
    let suffix = format!(".{}.new", std::process::id());
    replace_by(path, &suffix, content, mode)
}

fn replace_by(path: &Path, suffix: &str, content: &[u8], mode: u32) -> Result<(), ReplaceError> {
    let failed = |operation, path: &Path, source| ReplaceError {
        operation,
        path: path.to_owned(),
        source,
    };
    let Some(name) = path.file_name() else {
        return Err(failed("replace", path, io::ErrorKind::IsADirectory.into()));
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(suffix);
    let new = path.with_file_name(hidden);
    // What a writer that died has left; create_new then follows no link.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &new, error));
        }
        _ => {}
    }
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new);
    let mut file = created.map_err(|source| failed("create", &new, source))?;
    // Whatever the umask is.
    let filled = file
        .set_permissions(Permissions::from_mode(mode))
        .and_then(|()| file.write_all(content))
        .map_err(|source| failed("write", &new, source));
    drop(file);
    let replaced = filled
        .and_then(|()| fs::rename(&new, path).map_err(|source| failed("replace", path, source)));
    if replaced.is_err() {
        // What counts is the first error.
        let _ = fs::remove_file(&new);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        replace(&path, b"one\n", 0o644).unwrap();
        let old = fs::File::open(&path).unwrap();
        replace(&path, b"2\n", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            io::read_to_string(old).unwrap(),
            "one\n",
            "who has it open keeps it"
        );
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn what_is_in_the_way_is_removed_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let victim = folder.path().join("victim");
        fs::write(&victim, "kept").unwrap();
        symlink(&victim, folder.path().join(".a.json.new")).unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"kept");
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_failure_names_the_operation_and_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none/a.json");
        let error = replace(&none, b"", 0o600).unwrap_err();
        assert_eq!(error.operation, "create");
        // A folder cannot be replaced by a file.
        let path = folder.path().join("folder");
        fs::create_dir(&path).unwrap();
        let error = replace(&path, b"x", 0o600).unwrap_err();
        assert_eq!((error.operation, &error.path), ("replace", &path));
        assert!(path.is_dir());
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}
