//! A program of the cluster: started, watched, ended. It dies with this process, however that ends.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Error;
use super::error::io_error;
use crate::command::as_a_service;
use crate::wait::{self, SOON};

/// How much of a log a message shows.
const LINES: usize = 25;

/// A program with its log.
#[derive(Debug)]
pub(super) struct Daemon {
    name: &'static str,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Daemon {
    /// A program that is not started yet, whose log is `NAME.log` in `dir`.
    pub(super) fn new(name: &'static str, dir: &Path) -> Self {
        Self {
            name,
            log: dir.join(format!("{name}.log")),
            child: Mutex::default(),
        }
    }

    /// Starts it with nothing in its environment but `PATH` and `HOME`; its output goes on in the log.
    pub(super) fn start(&self, mut command: Command, home: &Path) -> Result<(), Error> {
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(io_error("open", &self.log))?;
        let err = out.try_clone().map_err(io_error("open", &self.log))?;
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", home)
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        as_a_service(&mut command);
        let program = PathBuf::from(command.get_program());
        let child = spawn(command).map_err(io_error("start", &program))?;
        *self.child() = Some(child);
        Ok(())
    }

    /// An error if it has ended by itself.
    pub(super) fn check(&self) -> Result<(), Error> {
        let ended = self
            .child()
            .as_mut()
            .is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
        if !ended {
            return Ok(());
        }
        Err(Error::Ended {
            name: self.name,
            log: self.log_end(),
        })
    }

    /// Its process, while there is one.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// Ends it by a signal and waits for that.
    pub(super) fn end(&self, signal: Signal) -> Result<(), Error> {
        let Some(mut child) = self.child().take() else {
            return Ok(());
        };
        if let Ok(pid) = i32::try_from(child.id()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
        let ended = wait::until_true(self.name, SOON, || !matches!(child.try_wait(), Ok(None)));
        ended.map_err(|what| {
            let _ = child.kill();
            let _ = child.wait();
            Error::TooSlow {
                what,
                more: self.log_end(),
            }
        })
    }

    /// The last lines of its log.
    pub(super) fn log_end(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
        format!("the end of {}:\n{end}", self.log.display())
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command, and where its process goes.
type Request = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a command that the kernel kills when this process ends. That is when the thread which has started it
/// ends, to be exact: so one thread, which never ends, starts them all.
fn spawn(mut command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<mpsc::Sender<Request>>> = OnceLock::new();
    // SAFETY: prctl is a system call and nothing else: no allocation, no lock.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
    }
    let starter = STARTER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in requests {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (answer, started) = mpsc::channel();
    let sender = starter.lock().unwrap_or_else(PoisonError::into_inner);
    let lost = |_| io::Error::other("the thread that starts programs has ended");
    sender
        .send((command, answer))
        .map_err(|_| lost(mpsc::RecvError))?;
    drop(sender);
    started.recv().map_err(lost)?
}
