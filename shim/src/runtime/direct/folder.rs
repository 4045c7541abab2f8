//! The folder in which an OCI runtime notes a container.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::Unfit;
use crate::error::{Error, Result};

/// What init waits at for its start, with runc and with crun.
pub const FIFO: &str = "exec.fifo";
/// More than a configuration with the largest seccomp profile.
const LIMIT: u64 = 4 << 20;

#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// The folder of a container below the runtime's root.
    ///
    /// # Errors
    /// Where it is none, or a link.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let folder = open(path, flags, Mode::empty());
        folder
            .map(Self)
            .map_err(|e| Error::io("open", path)(e.into()))
    }

    fn open_file(&self, name: &'static str, access: OFlag) -> Result<File> {
        let flags = access | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(self.0.as_fd(), name, flags, Mode::empty());
        file.map(File::from)
            .map_err(|e| Error::io("open", name)(e.into()))
    }

    /// What is in a file of it.
    pub fn read(&self, name: &'static str) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let file = self.open_file(name, OFlag::O_RDONLY)?;
        let read = file.take(LIMIT).read_to_end(&mut text);
        read.map_err(Error::io("read", name))?;
        Ok(text)
    }

    /// The fifo of a container that was created. Neither the open nor what is done with it waits.
    pub fn fifo(&self, access: OFlag) -> Result<File, Unfit> {
        let fifo = self.open_file(FIFO, access)?;
        let metadata = fifo.metadata().map_err(Error::io("stat", FIFO))?;
        match metadata.file_type().is_fifo() {
            true => Ok(fifo),
            false => Err(Unfit::Is("exec.fifo is no fifo")),
        }
    }

    /// By this the runtime knows that the container was started.
    pub fn remove_fifo(&self) -> Result<()> {
        unlinkat(self.0.as_fd(), FIFO, UnlinkatFlags::NoRemoveDir)
            .map_err(|e| Error::io("remove", FIFO)(e.into()))
    }
}
