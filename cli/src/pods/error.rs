//! Why pods cannot be had.

use crate::cri;
use crate::store;

/// What can go wrong between a command and the pods that it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// containerd.
    #[error(transparent)]
    Cri(#[from] cri::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// kubectl's "Error from server": code and text.
    #[error("Error from server ({code}): {message}")]
    Server {
        /// As `NotFound`.
        code: &'static str,
        /// As `pods "x" not found`.
        message: String,
    },
    /// Arguments that name no pods.
    #[error("{0}")]
    Arguments(String),
}

impl Error {
    /// There is no such pod.
    #[must_use]
    pub fn no_pod(name: &str) -> Self {
        Self::Server {
            code: "NotFound",
            message: format!("pods {name:?} not found"),
        }
    }
}
