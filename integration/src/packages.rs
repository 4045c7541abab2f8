//! The packages of what cargo has built, as `.ci/package` makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Outcome;
use crate::command::{self, stdout_of};
use crate::generation::repository;
use crate::shim::built;

/// cargo may have to build the program that writes the man pages.
pub const LIMIT: Duration = Duration::from_secs(1200);
pub const PROGRAMS: [&str; 2] = ["podhook", "containerd-shim-podhook-v1"];
/// The release that is installed, and the one that comes after it.
pub const OLD: &str = "0.0.1";
pub const NEW: &str = "0.0.2";

/// The packages of a run, in a folder.
#[derive(Debug)]
pub struct Packages {
    folder: PathBuf,
}

impl Packages {
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes both releases, of programs without their symbols, as a release's are.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn make(&self) -> Outcome {
        let programs = self.programs();
        fs::create_dir_all(&programs)?;
        for program in PROGRAMS {
            let from = built(program).display().to_string();
            let to = programs.join(program).display().to_string();
            stdout_of("strip", &["-o", &to, &from])?;
        }
        for version in [OLD, NEW] {
            self.make_in(&self.folder, version)?;
        }
        Ok(())
    }

    /// Makes a release in another folder.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn make_in(&self, folder: &Path, version: &str) -> Outcome {
        Self::make_of(&self.programs(), folder, version)
    }

    /// Makes a release of the programs in a folder, whatever they are.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn make_of(programs: &Path, folder: &Path, version: &str) -> Outcome {
        let mut command = Command::new(repository().join(".ci/package"));
        command
            .arg(programs)
            .arg(folder)
            .env("VERSION", version)
            .env("FAST", "1");
        // The time of a commit, which an archive of the source does not have.
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        command::run(&mut command, None, LIMIT)?.success()?;
        Ok(())
    }

    /// The .deb of a release.
    #[must_use]
    pub fn deb(&self, version: &str) -> PathBuf {
        self.folder.join(format!("podhook_{version}-1_amd64.deb"))
    }

    /// The .rpm of a release.
    #[must_use]
    pub fn rpm(&self, version: &str) -> PathBuf {
        self.folder.join(format!("podhook-{version}-1.x86_64.rpm"))
    }

    fn programs(&self) -> PathBuf {
        self.folder.join("programs")
    }
}
