//! The client that reads a container's output, and may go away.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::tasks::Stdio;

/// The fifos of both outputs, and what came through them.
#[derive(Debug)]
pub struct Reader {
    paths: [PathBuf; 2],
    fifos: Vec<File>,
    text: String,
}

impl Reader {
    /// Makes the fifos in a folder.
    pub fn open(dir: &Path) -> io::Result<Self> {
        // The original takes no output without the other.
        let paths = ["stdout", "stderr"].map(|name| dir.join(name));
        let mut fifos = Vec::new();
        for path in &paths {
            mkfifo(path, Mode::from_bits_truncate(0o600))?;
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
            fifos.push(options.open(path)?);
        }
        Ok(Self {
            paths,
            fifos,
            text: String::new(),
        })
    }

    pub fn stdio(&self) -> Stdio {
        let [stdout, stderr] = &self.paths;
        Stdio {
            stdout: stdout.display().to_string(),
            stderr: stderr.display().to_string(),
            ..Stdio::default()
        }
    }

    pub fn close(&mut self) {
        self.fifos.clear();
    }

    /// Whether this was written so far. It ends with no error: there may be no writer yet, or any more.
    pub fn has(&mut self, text: &str) -> bool {
        for fifo in &mut self.fifos {
            let mut bytes = Vec::new();
            let _ = fifo.read_to_end(&mut bytes);
            self.text += &String::from_utf8_lossy(&bytes);
        }
        self.text.contains(text)
    }
}
