//! Output to a file, to a pipe, or to nowhere: copies that end with their source.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::copy::{batch, copy};
use crate::error::{Error, Result};
use crate::host::apart;

/// Whether there is a fifo at `path`.
pub fn is_fifo(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Whether there is a file at `path`, to which output can be appended.
pub fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Appends to the file at `path`, made with its directories where it does not exist.
pub fn append<R>(copies: &mut JoinSet<()>, mut from: R, path: &Path) -> Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    if let Some(dir) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .map_err(Error::io("create directory", dir))?;
    }
    let file = open(path).map_err(Error::io("open", path))?;
    let (file, path) = (Arc::new(file), path.to_owned());
    copies.spawn(async move {
        let mut lost = Lost::default();
        while let Ok(bytes) = batch(&mut from).await
            && !bytes.is_empty()
        {
            let length = bytes.len();
            // A full disk loses output, but does not stop the container.
            let written = write(&file, bytes).await;
            if let Some(line) = lost.after(written, length) {
                log::warn!("write {}: {line}", path.display());
            }
        }
        if let Some(line) = lost.end() {
            log::warn!("write {}: {line}", path.display());
        }
    });
    Ok(())
}

/// Opens for appending, with the Go shim's mode. The file may be a link only where nobody else can have put it there:
/// whoever owns a folder of logs would have root append to any file of the node.
fn open(path: &Path) -> io::Result<File> {
    let open = |flags| {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o644)
            .custom_flags(flags | libc::O_NOCTTY)
            .open(path)
    };
    match open(libc::O_NOFOLLOW) {
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) && is_own_link(path) => open(0),
        opened => opened,
    }
}

/// Whether the link is the shim's user's, in a folder in which nobody else can replace it.
fn is_own_link(path: &Path) -> bool {
    const WRITABLE: u32 = 0o022;
    let own = nix::unistd::geteuid().as_raw();
    let is_own = |metadata: &fs::Metadata| metadata.uid() == own;
    let folder = path.parent().map(fs::metadata);
    let keeps = |folder: &fs::Metadata| {
        is_own(folder) && (folder.mode() & WRITABLE == 0 || folder.mode() & libc::S_ISVTX != 0)
    };
    fs::symlink_metadata(path).is_ok_and(|link| is_own(&link))
        && folder.is_some_and(|folder| folder.is_ok_and(|folder| keeps(&folder)))
}

/// Output that could not be written. It is told when that begins and how much it was when it ends: a line for every
/// chunk would fill the node's log with what a container prints.
#[derive(Default)]
struct Lost {
    bytes: u64,
}

impl Lost {
    /// The line to log after a write of `length` bytes, if there is one.
    fn after(&mut self, written: io::Result<()>, length: usize) -> Option<String> {
        match written {
            Ok(()) => self.end(),
            Err(e) => {
                let first = self.bytes == 0;
                self.bytes = self.bytes.saturating_add(length as u64);
                first.then(|| format!("{e}: output is lost until there is room again"))
            }
        }
    }

    fn end(&mut self) -> Option<String> {
        match std::mem::take(&mut self.bytes) {
            0 => None,
            bytes => Some(format!("{bytes} bytes of output were lost")),
        }
    }
}

/// In a thread: a file server that does not answer must not hold up the shim.
async fn write(file: &Arc<File>, bytes: Vec<u8>) -> io::Result<()> {
    let file = Arc::clone(file);
    let written = apart::start(move || (&*file).write_all(&bytes));
    written.await.unwrap_or_else(|e| Err(io::Error::other(e)))
}

/// Reads and forgets, so that the process never waits.
pub fn discard<R>(copies: &mut JoinSet<()>, mut from: R)
where
    R: AsyncRead + Send + Unpin + 'static,
{
    copies.spawn(async move {
        let _ = copy(&mut from, &mut tokio::io::sink()).await;
    });
}

/// Copies to a pipe until either end closes.
pub fn copy_to_pipe<R, W>(copies: &mut JoinSet<()>, mut from: R, mut to: W)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    copies.spawn(async move {
        let _ = copy(&mut from, &mut to).await;
    });
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_link_is_followed_where_nobody_else_can_have_made_it() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, victim) = (dir.path().join("logs"), dir.path().join("victim"));
        fs::create_dir(&folder).unwrap();
        fs::write(&victim, "").unwrap();
        let link = folder.join("log");
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        let set = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        for (mode, follows) in [
            (0o755, true),
            (0o1777, true),
            (0o777, false),
            (0o775, false),
        ] {
            set(mode);
            assert_eq!(open(&link).is_ok(), follows, "{mode:o}");
        }
        set(0o755);
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(1000), None).unwrap();
            let refused = open(&link).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));
            std::os::unix::fs::lchown(&link, Some(0), None).unwrap();
            std::os::unix::fs::chown(&folder, Some(1000), None).unwrap();
            assert!(open(&link).is_err());
        }
        assert_eq!(fs::read(&victim).unwrap(), b"");
    }

    #[test]
    fn a_full_disk_is_told_once_and_counted() {
        let full = || Err(io::Error::from_raw_os_error(libc::ENOSPC));
        let mut lost = Lost::default();
        assert_eq!(lost.after(Ok(()), 10), None);
        let begins = lost.after(full(), 10).unwrap();
        assert!(begins.starts_with("No space left on device"), "{begins}");
        for _ in 0..1000 {
            assert_eq!(lost.after(full(), 4096), None);
        }
        let ends = lost.after(Ok(()), 10).unwrap();
        assert_eq!(ends, "4096010 bytes of output were lost");
        assert_eq!(lost.end(), None);
        lost.after(full(), 7);
        assert_eq!(lost.end().unwrap(), "7 bytes of output were lost");
    }
}
