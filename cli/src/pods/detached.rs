//! Work that must not end with the command that began it.
//!
//! containerd cancels `StartContainer` when its client goes away, and kills the container then
//! (`container_start.go`); a `StopContainer` cut off sends no SIGKILL. So starts and removals run
//! in a process of their own, in its own process group: Ctrl-C reaches only the command that
//! waits for it.

use std::ffi::OsString;
use std::process::Stdio;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::args::Global;

/// The process could not be made, or ended too early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No process.
    #[error("cannot start a process of podhook: {0}")]
    Spawn(std::io::Error),
    /// Its report broke off.
    #[error("the process that does the work ended without a report")]
    NoReport,
}

/// What a worker says of one piece of its work.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Report {
    /// What it is about: a container ID, a pod's UID.
    pub id: String,
    /// What went wrong; nothing did when unset.
    pub error: Option<String>,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    _child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Worker {
    /// Runs `podhook worker <arguments>` with the global options of this command. Without `wait`
    /// nobody reads its reports.
    ///
    /// # Errors
    /// When no process can be made.
    pub fn spawn(global: &Global, arguments: &[OsString], wait: bool) -> Result<Self, Error> {
        let mut child = Command::new("/proc/self/exe")
            .arg0("podhook")
            .arg("worker")
            .args(arguments)
            .arg("--address")
            .arg(&global.address)
            .arg("--root-dir")
            .arg(&global.root_dir)
            .stdin(Stdio::null())
            .stdout(if wait { Stdio::piped() } else { Stdio::null() })
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::Spawn)?;
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        Ok(Self {
            _child: child,
            lines,
        })
    }

    /// The next report.
    ///
    /// # Errors
    /// [`Error::NoReport`] when the process ended before it.
    pub async fn report<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let lines = self.lines.as_mut().ok_or(Error::NoReport)?;
        let line = lines
            .next_line()
            .await
            .ok()
            .flatten()
            .ok_or(Error::NoReport)?;
        serde_json::from_str(&line).map_err(|_| Error::NoReport)
    }
}

/// Prints a report, where someone listens. Nobody does when the waiting command was interrupted.
pub(crate) fn print(report: &Report) {
    if let Ok(line) = serde_json::to_string(report) {
        let _ = std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes());
    }
}
