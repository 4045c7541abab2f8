//! containerd's own command line client.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{self, Error, Output};

/// The limit for a ctr call that has nothing to wait for.
const LIMIT: Duration = Duration::from_secs(90);

/// `ctr` of one containerd in one namespace.
#[derive(Debug, Clone)]
pub struct Ctr {
    program: PathBuf,
    address: PathBuf,
    namespace: String,
    fifos: PathBuf,
}

/// A task as `ctr task ls` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The container's first process.
    pub pid: i32,
    /// `CREATED`, `RUNNING`, `PAUSED`, `STOPPED`.
    pub status: String,
}

/// Pauses a container with `pause`. runc tries for a while to freeze a cgroup of v1, which a busy machine may not do in that
/// time: it is asked again then.
///
/// # Errors
/// Those of `pause`, and any exit status but 0.
pub fn pause_when_busy(pause: impl Fn() -> Result<Output, Error>) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let output = pause()?;
        let is_busy = output.status != 0 && output.stderr.contains("unable to freeze");
        if tries == 10 || !is_busy {
            output.success()?;
            return Ok(());
        }
    }
}

impl Ctr {
    pub(crate) fn new(program: PathBuf, address: &Path, namespace: &str, fifos: PathBuf) -> Self {
        Self {
            program,
            address: address.to_path_buf(),
            namespace: namespace.to_owned(),
            fifos,
        }
    }

    /// The namespace it works in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A folder for `--fifo-dir`, inside the instance's own.
    #[must_use]
    pub fn fifos(&self) -> &Path {
        &self.fifos
    }

    /// The command without arguments of its own.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            // Among them that of cgroup v1, on the standard error that a test reads.
            .env("CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS", "1")
            .arg("--address")
            .arg(&self.address)
            .arg("--namespace")
            .arg(&self.namespace);
        command
    }

    /// Runs it; it must succeed, and soon. Gives its standard output.
    ///
    /// # Errors
    /// As [`command::run`], and for any exit status but 0.
    pub fn run(&self, args: &[&str]) -> Result<String, Error> {
        Ok(self.try_run(args)?.success()?.stdout)
    }

    /// Pauses a task, as [`pause_when_busy`].
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn pause(&self, id: &str) -> Result<(), Error> {
        pause_when_busy(|| self.try_run(&["task", "pause", id]))
    }

    /// Runs it, whatever its exit status.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn try_run(&self, args: &[&str]) -> Result<Output, Error> {
        self.run_for(args, LIMIT)
    }

    /// Runs it for at most `limit`, whatever its exit status.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn run_for(&self, args: &[&str], limit: Duration) -> Result<Output, Error> {
        command::run(self.command().args(args), None, limit)
    }

    /// Runs it with something on its standard input.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Result<Output, Error> {
        command::run(self.command().args(args), Some(input), LIMIT)
    }

    /// Runs it with something on its standard input; calls `then` as soon as its output has each of these texts.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn run_shown(
        &self,
        args: &[&str],
        input: &[u8],
        shown: &[&str],
        then: impl FnOnce(),
    ) -> Result<Output, Error> {
        let mut command = self.command();
        command::run_shown(command.args(args), Some(input), LIMIT, shown, then)
    }

    /// The tasks of the namespace by container.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn tasks(&self) -> Result<BTreeMap<String, Task>, Error> {
        let table = self.run(&["task", "ls"])?;
        let rows = table.lines().skip(1).filter_map(|line| {
            let mut words = line.split_whitespace();
            let (id, pid, status) = (words.next()?, words.next()?, words.next()?);
            Some((
                id.to_owned(),
                Task {
                    pid: pid.parse().ok()?,
                    status: status.to_owned(),
                },
            ))
        });
        Ok(rows.collect())
    }
}
