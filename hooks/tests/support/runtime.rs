//! The OCI runtimes whose exec the engine is compared with.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::within::pass_on_signal_mask;

/// An OCI runtime of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// The system's runc: 1.1 in Debian 12.
    Runc,
    /// Debian forky's runc, 1.3, which knows more of the specification.
    NewRunc,
    /// Upstream's runc 1.4.
    Runc1_4,
    /// Upstream's runc 1.5.
    Runc1_5,
    /// The system's crun: 1.8 in Debian 12.
    Crun,
    /// Debian forky's crun.
    NewCrun,
}

impl Runtime {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Runc,
        Self::NewRunc,
        Self::Runc1_4,
        Self::Runc1_5,
        Self::Crun,
        Self::NewCrun,
    ];

    /// As documents name it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Runc => "runc, Debian 12",
            Self::NewRunc => "runc, forky",
            Self::Runc1_4 => "runc 1.4",
            Self::Runc1_5 => "runc 1.5",
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
            Self::NewRunc => cached("runtimes/forky/bin/runc"),
            Self::Runc1_4 => cached("upstream/runc-1.4/bin/runc"),
            Self::Runc1_5 => cached("upstream/runc-1.5/bin/runc"),
            Self::NewCrun => cached("runtimes/forky/bin/crun"),
        }
    }
}

fn cached(name: &str) -> PathBuf {
    // Not by "..": in the v2 machines the cache is there and this package's folder is not.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let workspace = workspace.expect("a folder above the package's");
    let cache = std::env::var_os("PODHOOK_CACHE").map_or(workspace.join(".cache"), PathBuf::from);
    let program = cache.join(name);
    assert!(
        program.exists(),
        "no {}: run `make runtimes` (make test-unit does)",
        program.display()
    );
    program
}
