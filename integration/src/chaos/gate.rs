//! A fifo that a script waits at until it is opened, for good.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// A closed gate, or an open one. Scripts wait with `read _ < FIFO`.
#[derive(Debug)]
pub struct Gate {
    /// Its name at first.
    first: PathBuf,
    /// Its name once somebody has come.
    path: PathBuf,
    /// What is written stays in the fifo as long as somebody has it open.
    open: Option<File>,
}

impl Gate {
    /// A gate that is closed.
    pub fn close(path: &Path) -> io::Result<Self> {
        Self::close_as(path, path.to_path_buf())
    }

    /// The same, for a script that renames it to `taken` when it comes there.
    pub fn close_as(path: &Path, taken: PathBuf) -> io::Result<Self> {
        mkfifo(path, Mode::from_bits_truncate(0o666))?;
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        Ok(Self {
            first: path.to_path_buf(),
            path: taken,
            open: None,
        })
    }

    /// Lets everybody pass from now on. A reader that comes is not needed, nor one that is there.
    pub fn open(&mut self) -> io::Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options.custom_flags(OFlag::O_NONBLOCK.bits());
        let file = options.open(&self.path);
        let mut file = match file {
            // Nobody has come.
            Err(error) if error.kind() == io::ErrorKind::NotFound => options.open(&self.first)?,
            other => other?,
        };
        file.write_all(b"\n\n\n\n\n\n\n\n")?;
        self.open = Some(file);
        Ok(())
    }
}
