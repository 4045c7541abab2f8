//! The containerd generations a test can run on.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

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
        /// Where it should be.
        path: PathBuf,
        /// What puts it there.
        remedy: &'static str,
    },
    /// It does not say its version.
    #[error("version of {path}: {reason}")]
    Version {
        /// The binary.
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

    /// One of its programs.
    ///
    /// # Errors
    /// When it is not installed: says what to run.
    pub fn program(self, name: &str) -> Result<PathBuf, Error> {
        let path = self.bin().join(name);
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
        let path = self.program("containerd")?;
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

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
