//! Files by what they are, how they are written, and their removal.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Error, Result};

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// That of the file with this name, if there is one.
    pub fn of(path: &Path) -> Option<Self> {
        Self::find(path).ok()
    }

    /// The same, with the reason where it is not known.
    pub fn find(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|found| Self::from(&found))
    }

    /// That of the file that a link leads to, as those of `/proc/PID/fd`.
    pub fn behind(link: impl AsRef<Path>) -> Option<Self> {
        fs::metadata(link).ok().as_ref().map(Self::from)
    }
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// A file that its opener has locked, until this is dropped: before its children let go of it, too. (That of nix panics
/// where the kernel refuses to unlock.)
#[derive(Debug)]
pub struct Locked(pub File);

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Writes a file of the bundle's, for the shim's user alone whatever the umask is. A link in its place is an error.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(Error::io("write", path))
}

/// Removes a file; one that is gone already is fine.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Removes a folder with all that is in it; one that is gone already is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_private_file_goes_through_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("a"), folder.path().join("victim"));
        fs::write(&victim, "kept").unwrap();
        symlink(&victim, &path).unwrap();
        let error = write_private(&path, b"x").unwrap_err().to_string();
        // C libraries have other words for it.
        let link = io::Error::from_raw_os_error(libc::ELOOP).to_string();
        assert!(error.ends_with(&link), "{error}");
        assert_eq!(fs::read(&victim).unwrap(), b"kept");
        remove(&path).unwrap();
        for text in ["longer", "x"] {
            write_private(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }
}
