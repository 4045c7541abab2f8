//! The OCI runtimes whose exec the engine is compared with.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::within::pass_on_signal_mask;

/// An OCI runtime of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// The system's runc: 1.1 in Debian 12.
    Runc,
    /// Debian forky's runc, which knows more of the specification.
    NewRunc,
    /// The system's crun: 1.8 in Debian 12.
    Crun,
    /// Debian forky's crun.
    NewCrun,
}

impl Runtime {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Runc, Self::NewRunc, Self::Crun, Self::NewCrun];

    /// As documents name it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Runc => "runc, Debian 12",
            Self::NewRunc => "runc, forky",
            Self::Crun => "crun, Debian 12",
            Self::NewCrun => "crun, forky",
        }
    }

    /// crun does not start on a machine with both cgroup v1 and v2.
    pub fn is_crun(self) -> bool {
        matches!(self, Self::Crun | Self::NewCrun)
    }

    pub fn command(self) -> Command {
        let mut command = Command::new(self.program());
        pass_on_signal_mask(&mut command);
        command
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Runc => "runc".into(),
            Self::Crun => "crun".into(),
            Self::NewRunc => fetched("runc"),
            Self::NewCrun => fetched("crun"),
        }
    }
}

fn fetched(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cache = std::env::var_os("PODHOOK_CACHE").map_or(workspace.join(".cache"), PathBuf::from);
    let program = cache.join("runtimes/forky/bin").join(name);
    assert!(
        program.exists(),
        "no {}: run hooks/tests/runtimes (make test-unit does)",
        program.display()
    );
    program
}
