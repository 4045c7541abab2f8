//! The `podhook` command, pointed at one private containerd.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::command::{self, Error, Output};
use crate::containerd::Containerd;
use crate::driver;
use crate::shim::built;

/// Longer than any deadline of a hook.
const LIMIT: Duration = Duration::from_secs(150);

/// `podhook` with its own files and cgroups inside the instance.
#[derive(Debug, Clone)]
pub struct Podhook {
    address: PathBuf,
    dir: PathBuf,
    cgroup: String,
}

impl Podhook {
    /// The command for `containerd`.
    #[must_use]
    pub fn new(containerd: &Containerd) -> Self {
        Self {
            address: containerd.address(),
            dir: containerd.dir().to_path_buf(),
            cgroup: driver::pod_parent(containerd.id()),
        }
    }

    /// The command without arguments of its own.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(built("podhook"));
        command
            .env("CONTAINERD_ADDRESS", &self.address)
            .env("PODHOOK_ROOT_DIR", self.dir.join("podhook"))
            .env("PODHOOK_CGROUP_PARENT", &self.cgroup);
        command
    }

    /// Runs it; it must succeed. Gives its standard output.
    ///
    /// # Errors
    /// As [`command::run`], and for any exit status but 0.
    pub fn run(&self, args: &[&str]) -> Result<String, Error> {
        Ok(self.try_run(args)?.success()?.stdout)
    }

    /// Runs it, whatever its exit status.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn try_run(&self, args: &[&str]) -> Result<Output, Error> {
        command::run(self.command().args(args), None, LIMIT)
    }

    /// Runs it with something on its standard input, as `apply -f -`; it must succeed.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Result<String, Error> {
        Ok(
            command::run(self.command().args(args), Some(input.as_bytes()), LIMIT)?
                .success()?
                .stdout,
        )
    }
}
