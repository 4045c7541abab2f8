//! What can go wrong with a container's cgroups.

use std::io;
use std::path::{Path, PathBuf};

/// An error that names the operation and the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cgroup no longer exists; the RPC answers NotFound.
    #[error("cgroup {} no longer exists", path.display())]
    Gone {
        /// One of the directories that are missing.
        path: PathBuf,
    },
    /// The process has exited (or is about to), so its cgroups cannot be told any more.
    #[error("process {pid} has exited")]
    Exited {
        /// The process that was asked for.
        pid: i32,
    },
    /// None of the process's cgroups can be seen through the mounts of this process.
    #[error("process {pid}: none of its cgroups is mounted here")]
    NotMounted {
        /// The process that was asked for.
        pid: i32,
    },
    /// OOM kills cannot be watched: no memory controller for this cgroup.
    #[error("cgroup {} has no memory controller", path.display())]
    NoMemoryController {
        /// A directory of the cgroup.
        path: PathBuf,
    },
    #[error("{operation} {}: {source}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// A file holds what the kernel's documentation does not say it may hold.
    #[error("{}: cannot parse {text:?}", path.display())]
    Parse {
        path: PathBuf,
        /// The part that was not understood, shortened.
        text: String,
    },
    /// A file, or a tree of cgroups, is larger than can be sensible.
    #[error("{}: more than {limit} {unit}", path.display())]
    TooLarge {
        path: PathBuf,
        /// The bound it exceeds.
        limit: u64,
        /// What the bound counts.
        unit: &'static str,
    },
}

impl Error {
    /// For `map_err`: the failed operation and its file.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// For `map_err`: a text of `path` that was not understood.
    pub(super) fn parse(path: &Path) -> impl FnOnce(Malformed) -> Self {
        move |Malformed(text)| Self::Parse {
            path: path.to_owned(),
            text,
        }
    }
}

/// The text a parser did not understand. Parsers see no paths; [`Error::parse`] adds the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(String);

impl Malformed {
    /// Keeps enough of `text` to recognise it.
    pub(super) fn new(text: &str) -> Self {
        Self(text.chars().take(80).collect())
    }
}
