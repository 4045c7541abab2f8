//! A gate that any number of scripts wait at without using the CPU: a fifo that nobody has open for writing.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use podhook_integration::trace::{INSIDE, Trace};

/// A closed gate.
pub struct Gate {
    fifo: PathBuf,
}

/// An open one; who comes when this is dropped waits for ever.
pub struct Open {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Gate {
    /// Makes the gate `name` of the folder.
    pub fn close(trace: &Trace, name: &str) -> io::Result<Self> {
        let fifo = trace.dir().join(name);
        mkfifo(&fifo, Mode::from_bits_truncate(0o666))?;
        fs::set_permissions(&fifo, Permissions::from_mode(0o666))?;
        Ok(Self { fifo })
    }

    /// Lets all go on that wait, and who comes later.
    pub fn open(self) -> io::Result<Open> {
        File::create(self.fifo.with_extension("open"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut options = OpenOptions::new();
            options.write(true);
            options.custom_flags(OFlag::O_NONBLOCK.bits());
            while !stopped.load(Ordering::Relaxed) {
                // Whoever waits to open it does, and finds its end. Nobody there (ENXIO) is no error.
                drop(options.open(&self.fifo));
                thread::sleep(Duration::from_millis(20));
            }
        });
        Ok(Open {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A shell command that waits until the gate is open, whatever signals come. It holds no quotes.
pub fn pass(name: &str) -> String {
    format!("until [ -e {INSIDE}/{name}.open ]; do read _ < {INSIDE}/{name}; done")
}
