//! Why a containerd is not as a test needs it.

use std::io;
use std::path::{Path, PathBuf};

use super::network;
use crate::command;
use crate::cri;
use crate::generation;
use crate::image::NoImage;
use crate::wait::TimedOut;

/// Why a containerd is not as a test needs it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something the machine must have is missing.
    #[error("{missing}: {remedy}")]
    Prerequisite {
        /// What is missing.
        missing: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The generation is not installed.
    #[error(transparent)]
    Generation(#[from] generation::Error),
    /// The test image is not built.
    #[error(transparent)]
    Image(#[from] NoImage),
    /// The pod network could not be made.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// A command failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// There is no connection to its CRI.
    #[error(transparent)]
    Cri(#[from] cri::Error),
    /// It did not come up or go down in time; with the end of its log.
    #[error("{what}\n{log}")]
    TooSlow {
        what: TimedOut,
        /// The last lines of containerd's log.
        log: String,
    },
    /// dockerd did not stay; with its log.
    #[error("dockerd has ended\n{log}")]
    DockerEnded { log: String },
    /// A file or process of the instance failed.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        operation: &'static str,
        /// On what.
        path: PathBuf,
        source: io::Error,
    },
    /// Something of a container was left behind.
    #[error("left behind:\n  {}", .0.join("\n  "))]
    Leak(Vec<String>),
}

/// For `map_err`.
pub(crate) fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io {
        operation,
        path,
        source,
    }
}
