//! The client that reads a container's output, and may go away.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::tasks::Stdio;

/// The fifo of both outputs, and what came through it.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    fifo: Option<File>,
    text: String,
}

impl Reader {
    pub fn open(path: &Path) -> io::Result<Self> {
        mkfifo(path, Mode::from_bits_truncate(0o600))?;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        Ok(Self {
            path: path.to_path_buf(),
            fifo: Some(options.open(path)?),
            text: String::new(),
        })
    }

    pub fn stdio(&self) -> Stdio {
        Stdio {
            stdout: self.path.display().to_string(),
            ..Stdio::default()
        }
    }

    pub fn close(&mut self) {
        self.fifo = None;
    }

    /// Whether this was written so far. It ends with no error: there may be no writer yet, or any more.
    pub fn has(&mut self, text: &str) -> bool {
        if let Some(fifo) = &mut self.fifo {
            let mut bytes = Vec::new();
            let _ = fifo.read_to_end(&mut bytes);
            self.text += &String::from_utf8_lossy(&bytes);
        }
        self.text.contains(text)
    }
}
