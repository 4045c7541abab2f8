//! Why a cluster is not as it is needed.

use std::io;
use std::path::Path;

use crate::command;
use crate::containerd;
use crate::cri;
use crate::generation;
use crate::image::NoImage;
use crate::shim::NoShim;
use crate::wait::TimedOut;

/// Why a cluster is not as it is needed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One of upstream's programs is not there.
    #[error(transparent)]
    Program(#[from] generation::Error),
    /// podhook's shim is not there.
    #[error(transparent)]
    Shim(#[from] NoShim),
    /// A test image is not built.
    #[error(transparent)]
    Image(#[from] NoImage),
    /// The node's containerd failed.
    #[error(transparent)]
    Containerd(#[from] containerd::Error),
    /// CRI answered with an error.
    #[error(transparent)]
    Cri(#[from] cri::Error),
    /// kubectl, or another command, failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// kubectl printed what cannot be read.
    #[error("kubectl {command}: {source}\n{text}")]
    Json {
        command: String,
        text: String,
        source: serde_json::Error,
    },
    /// A program of the cluster has ended; with the end of its log.
    #[error("{name} has ended\n{log}")]
    Ended { name: &'static str, log: String },
    /// Something did not come true in time; with the ends of the logs, or a pod's description.
    #[error("{what}\n{more}")]
    TooSlow { what: TimedOut, more: String },
}

/// For `map_err`: as of the node's containerd.
pub(super) fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let failed = containerd::io_error(operation, path);
    move |source| failed(source).into()
}
