//! The containerd generations a test can run on.

use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use crate::command;

/// A containerd to run tests on, oldest first; its binaries come from `integration/containerd-generations`
/// (Debian's packages) and `integration/upstream` (built from upstream's Go modules).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Generation {
    /// The system's own package: 1.6 on Debian bookworm.
    V1_6,
    /// Debian trixie's: 1.7.
    V1_7,
    /// Debian forky's: 2.1 when this was written.
    V2,
    /// Upstream's 2.3, the long-term release.
    V2_3,
    /// Upstream's 2.4.
    V2_4,
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
    pub const ALL: [Self; 5] = [Self::V1_6, Self::V1_7, Self::V2, Self::V2_3, Self::V2_4];

    /// The folder with containerd, ctr and containerd-shim-runc-v2.
    #[must_use]
    pub fn bin(self) -> PathBuf {
        match self {
            Self::V1_6 => PathBuf::from("/usr/bin"),
            Self::V1_7 => cache().join("containerd/trixie/bin"),
            Self::V2 => cache().join("containerd/forky/bin"),
            Self::V2_3 => upstream_bin("containerd-2.3"),
            Self::V2_4 => upstream_bin("containerd-2.4"),
        }
    }

    /// The runc it is used with where none is named: that of the same Debian, or of upstream when it came out.
    #[must_use]
    pub fn own_runc(self) -> Option<OciRuntime> {
        match self {
            Self::V1_6 => Some(OciRuntime::Runc1_1),
            // Debian trixie's, a later 1.1 that nothing else uses.
            Self::V1_7 => None,
            Self::V2 => Some(OciRuntime::Runc1_3),
            Self::V2_3 => Some(OciRuntime::Runc1_4),
            Self::V2_4 => Some(OciRuntime::Runc1_5),
        }
    }

    /// The OCI runtime it is used with.
    ///
    /// # Errors
    /// When it is not installed: says what to run.
    pub fn oci_runtime(self, runtime: OciRuntime) -> Result<PathBuf, Error> {
        let runtime = match runtime {
            OciRuntime::Runc => self.own_runc().unwrap_or(runtime),
            named => named,
        };
        present(match (self, runtime) {
            (Self::V1_6, OciRuntime::Crun) => PathBuf::from("/usr/bin/crun"),
            (Self::V1_7, OciRuntime::Runc | OciRuntime::Crun) => {
                cache().join("containerd/trixie/oci").join(runtime.family())
            }
            (_, OciRuntime::Runc1_1) => PathBuf::from("/usr/sbin/runc"),
            (_, OciRuntime::Runc1_4) => upstream_bin("runc-1.4").join("runc"),
            (_, OciRuntime::Runc1_5) => upstream_bin("runc-1.5").join("runc"),
            (_, OciRuntime::Runc | OciRuntime::Crun | OciRuntime::Runc1_3) => {
                cache().join("containerd/forky/oci").join(runtime.family())
            }
        })
    }

    /// One of its programs.
    ///
    /// # Errors
    /// When it is not installed: says what to run.
    pub fn program(self, name: &str) -> Result<PathBuf, Error> {
        present(self.bin().join(name))
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

    /// What its programs are from: Debian packages, as `containerd 1.6.20~ds1-1+deb12u3`, or upstream's.
    #[must_use]
    pub fn packages(self) -> Vec<String> {
        let list = match self {
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
            Self::V2_3 | Self::V2_4 => {
                let version = self.version().unwrap_or_default();
                format!("containerd {version}, upstream's\n")
            }
        };
        list.lines().map(str::to_owned).collect()
    }

    /// The generation a matrix entry names: `1.6`, `1.7`, `2` (Debian forky's), `2.3`, `2.4`, or any longer version
    /// of one.
    #[must_use]
    pub fn named(version: &str) -> Option<Self> {
        match version.split('.').collect::<Vec<_>>()[..] {
            ["1", "6", ..] => Some(Self::V1_6),
            ["1", "7", ..] => Some(Self::V1_7),
            ["2"] | ["2", "1", ..] => Some(Self::V2),
            ["2", "3", ..] => Some(Self::V2_3),
            ["2", "4", ..] => Some(Self::V2_4),
            _ => None,
        }
    }
}

/// The path, if it is there.
fn present(path: PathBuf) -> Result<PathBuf, Error> {
    if path.exists() {
        return Ok(path);
    }
    let remedy = if path.starts_with("/usr") {
        "make deps"
    } else if path.starts_with(cache().join("upstream")) {
        "make upstream"
    } else {
        "integration/containerd-generations"
    };
    Err(Error::Missing { path, remedy })
}

/// The programs of a folder of `integration/upstream`.
fn upstream_bin(folder: &str) -> PathBuf {
    cache().join("upstream").join(folder).join("bin")
}

/// A program of a folder of `integration/upstream`.
///
/// # Errors
/// When it is not built: says what to run.
pub fn upstream(folder: &str, program: &str) -> Result<PathBuf, Error> {
    present(upstream_bin(folder).join(program))
}

/// The third word of what a program says of itself: `runc version 1.1.5+ds1`, `containerd REPOSITORY v2.1.9 REVISION`.
fn version_of(path: PathBuf) -> Result<String, Error> {
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
    /// The runc that the containerd is used with: [`Generation::own_runc`].
    Runc,
    /// crun of the same Debian, or the newest. It refuses cgroup v1 beside v2, so its containerd lives in a mount
    /// namespace of its own where v2 is not mounted.
    Crun,
    /// The system's own runc: 1.1 on Debian bookworm.
    Runc1_1,
    /// Debian forky's: 1.3 when this was written.
    Runc1_3,
    /// Upstream's 1.4.
    Runc1_4,
    /// Upstream's 1.5.
    Runc1_5,
}

impl OciRuntime {
    pub const ALL: [Self; 6] = [
        Self::Runc,
        Self::Crun,
        Self::Runc1_1,
        Self::Runc1_3,
        Self::Runc1_4,
        Self::Runc1_5,
    ];

    /// As a matrix entry names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Runc1_1 => "runc-1.1",
            Self::Runc1_3 => "runc-1.3",
            Self::Runc1_4 => "runc-1.4",
            Self::Runc1_5 => "runc-1.5",
        }
    }

    /// `runc` or `crun`, whatever its version.
    #[must_use]
    pub fn family(self) -> &'static str {
        if self.is_crun() { "crun" } else { "runc" }
    }

    /// Whether it is crun, and not some runc.
    #[must_use]
    pub fn is_crun(self) -> bool {
        self == Self::Crun
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
            Self::V2_3 => "2.3",
            Self::V2_4 => "2.4",
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
    present(cache().join("containerd/forky/docker").join(name))
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
