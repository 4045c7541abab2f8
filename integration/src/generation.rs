//! The containerd generations a test can run on.

use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use crate::command;

/// A containerd to run tests on; where its binaries come from is in `integration/containerd-generations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Generation {
    /// The system's own package: 1.6 on Debian bookworm.
    V1_6,
    /// Debian trixie's: 1.7.
    V1_7,
    /// Debian forky's: 2.1 when this was written.
    V2,
}

/// A generation that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its binary is not there.
    #[error("no {path}: run `{remedy}`")]
    Missing {
        path: PathBuf,
        /// What puts it there.
        remedy: &'static str,
    },
    /// It does not say its version.
    #[error("version of {path}: {reason}")]
    Version {
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

impl Generation {
    /// Every generation, oldest first.
    pub const ALL: [Self; 3] = [Self::V1_6, Self::V1_7, Self::V2];

    /// The folder with containerd, ctr and containerd-shim-runc-v2.
    #[must_use]
    pub fn bin(self) -> PathBuf {
        match self {
            Self::V1_6 => PathBuf::from("/usr/bin"),
            Self::V1_7 => cache().join("containerd/trixie/bin"),
            Self::V2 => cache().join("containerd/forky/bin"),
        }
    }

    /// The OCI runtime of the same Debian.
    ///
    /// # Errors
    /// When it is not installed: says what to run.
    pub fn oci_runtime(self, runtime: OciRuntime) -> Result<PathBuf, Error> {
        let path = match (self, runtime) {
            (Self::V1_6, OciRuntime::Runc) => PathBuf::from("/usr/sbin/runc"),
            (Self::V1_6, OciRuntime::Crun) => PathBuf::from("/usr/bin/crun"),
            (Self::V1_7, _) => cache().join("containerd/trixie/oci").join(runtime.name()),
            (Self::V2, _) => cache().join("containerd/forky/oci").join(runtime.name()),
        };
        self.present(path)
    }

    /// One of its programs.
    ///
    /// # Errors
    /// When it is not installed: says what to run.
    pub fn program(self, name: &str) -> Result<PathBuf, Error> {
        self.present(self.bin().join(name))
    }

    fn present(self, path: PathBuf) -> Result<PathBuf, Error> {
        if path.exists() {
            return Ok(path);
        }
        let remedy = if self == Self::V1_6 {
            "make deps"
        } else {
            "integration/containerd-generations"
        };
        Err(Error::Missing { path, remedy })
    }

    /// The version it really is, as `1.6.20`.
    ///
    /// # Errors
    /// When it is not installed or does not say.
    pub fn version(self) -> Result<String, Error> {
        version_of(self.program("containerd")?)
    }

    /// The version of its OCI runtime, as `1.1.5`.
    ///
    /// # Errors
    /// When it is not installed or does not say.
    pub fn oci_version(self, runtime: OciRuntime) -> Result<String, Error> {
        version_of(self.oci_runtime(runtime)?)
    }

    /// The Debian packages its programs are from, as `containerd 1.6.20~ds1-1+deb12u3`.
    #[must_use]
    pub fn packages(self) -> Vec<String> {
        let text = match self {
            Self::V1_6 => {
                let format = "${Package} ${Version}\n";
                let names = ["containerd", "runc", "crun"];
                command::stdout_of("dpkg-query", &[&["-W", "-f", format][..], &names].concat())
                    .unwrap_or_default()
            }
            Self::V1_7 | Self::V2 => {
                let list = self.bin().with_file_name("packages");
                fs::read_to_string(list).unwrap_or_default()
            }
        };
        text.lines().map(str::to_owned).collect()
    }

    /// The generation a matrix entry names: `1.6`, `1.7`, `2`, or any longer version of one.
    #[must_use]
    pub fn named(version: &str) -> Option<Self> {
        match version.split('.').collect::<Vec<_>>()[..] {
            ["1", "6", ..] => Some(Self::V1_6),
            ["1", "7", ..] => Some(Self::V1_7),
            ["2", ..] => Some(Self::V2),
            _ => None,
        }
    }
}

/// The third word of what a program says of itself: `runc version 1.1.5+ds1`, `containerd REPOSITORY v2.1.9 REVISION`.
pub(crate) fn version_of(path: PathBuf) -> Result<String, Error> {
    let failed = |reason| Error::Version {
        path: path.clone(),
        reason,
    };
    let text = command::stdout_of(&path.to_string_lossy(), &["--version"])
        .map_err(|e| failed(e.to_string()))?;
    let word = text
        .split_whitespace()
        .nth(2)
        .ok_or_else(|| failed(format!("it printed {text:?}")))?;
    let word = word.trim_start_matches('v');
    let end = word
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(word.len());
    Ok(word[..end].to_owned())
}

/// What a shim calls to create and start containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OciRuntime {
    Runc,
    /// crun. It refuses cgroup v1 beside v2, so its containerd lives in a mount namespace of its own where v2 is
    /// not mounted.
    Crun,
}

impl OciRuntime {
    pub const ALL: [Self; 2] = [Self::Runc, Self::Crun];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|runtime| runtime.name() == name)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_6 => "1.6",
            Self::V1_7 => "1.7",
            Self::V2 => "2",
        })
    }
}

/// The cache of downloaded and built things: `$PODHOOK_CACHE`, else `.cache` of the repository.
#[must_use]
pub fn cache() -> PathBuf {
    env::var_os("PODHOOK_CACHE").map_or_else(|| repository().join(".cache"), PathBuf::from)
}

/// `dockerd` and `docker`, the same for every generation.
///
/// # Errors
/// When they are not there: says what to run.
pub fn docker(name: &str) -> Result<PathBuf, Error> {
    Generation::V2.present(cache().join("containerd/forky/docker").join(name))
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
