//! Files that somebody else names or writes: only regular ones are read, and none is waited for.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

use rustix::fs::OFlags;

use super::folder::{Folder, Name};
use crate::store;

/// A log's own name, its container's folder and its pod's.
const LOG_PARTS: usize = 3;

/// Opens a file for reading.
///
/// # Errors
/// As `open`; for a link, which may be a container's, and for what is no regular file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("not a regular file"))
    }
}

/// Opens a container's log, whose last folders a pod can write to that mounts the node's logs: a link there
/// would show any file of the node.
///
/// # Errors
/// As [`open`]; and for a link.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let parts: Vec<Component<'_>> = path.components().collect();
    let (before, after) = parts.split_at(
        parts
            .len()
            .saturating_sub(LOG_PARTS)
            .max(1)
            .min(parts.len()),
    );
    let names: Option<Vec<Name<'_>>> = after
        .iter()
        .map(|part| Name::of(AsRef::<OsStr>::as_ref(part).to_str()?))
        .collect();
    let Some((file, folders)) = names.as_deref().and_then(<[_]>::split_last) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let start: &Path = &before.iter().collect::<std::path::PathBuf>();
    let mut folder = Folder::open(start).map_err(cause)?.ok_or_else(missing)?;
    for name in folders {
        folder = folder.folder(*name).map_err(cause)?.ok_or_else(missing)?;
    }
    folder.file(*file).map_err(cause)?.ok_or_else(missing)
}

/// The caller names the whole path.
fn cause(error: store::Error) -> io::Error {
    match error {
        store::Error::Io { source, .. }
            if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) =>
        {
            io::Error::other("a part of it is a symbolic link")
        }
        store::Error::Io { source, .. } => source,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_fifo_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        assert!(open(&path).is_err());
        assert!(open_log(&path).is_err());
        assert!(open(dir.path()).is_err());
    }

    #[test]
    fn a_link_in_the_place_of_a_file_shows_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        symlink("secret", dir.path().join("message")).unwrap();
        assert!(open(&dir.path().join("message")).is_err());
        assert!(open(&dir.path().join("secret")).is_ok());
    }

    #[test]
    fn a_pod_that_has_the_nodes_logs_shows_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret/c/0.log");
        std::fs::create_dir_all(secret.parent().unwrap()).unwrap();
        std::fs::write(&secret, "secret").unwrap();
        let logs = dir.path().join("logs");
        std::fs::create_dir_all(logs.join("pod/c")).unwrap();
        std::fs::write(logs.join("pod/c/0.log"), "log").unwrap();
        assert!(open_log(&logs.join("pod/c/0.log")).is_ok());
        symlink(&secret, logs.join("pod/c/1.log")).unwrap();
        symlink(dir.path().join("secret/c"), logs.join("pod/d")).unwrap();
        symlink(dir.path().join("secret"), logs.join("thief")).unwrap();
        for link in ["pod/c/1.log", "pod/d/0.log", "thief/c/0.log"] {
            let error = open_log(&logs.join(link)).unwrap_err().to_string();
            assert!(error.contains("symbolic link"), "{link}: {error}");
        }
        // The operator's own links stay.
        symlink(&logs, dir.path().join("link")).unwrap();
        assert!(open_log(&dir.path().join("link/pod/c/0.log")).is_ok());
    }

    #[test]
    fn a_missing_log_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["pod/c/0.log", "0.log"] {
            let error = open_log(&dir.path().join(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}");
        }
        assert!(open_log(Path::new("")).is_err());
        assert!(open_log(Path::new("/")).is_err());
    }
}
