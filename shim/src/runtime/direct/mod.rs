//! What the calls `start` and `delete` of runc do, without its program, whose start alone takes longer.
//!
//! A call is done here only where all of it is known: a runc that was tested, a note of the container that is wholly
//! understood, and the plain case. Anything else is left to the program, which finds the container as runc itself
//! would have left it at that point, and whose words users get. `create` is always the program's.

mod delete;
mod program;
mod start;
mod state;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::containerd::options::Options;
use crate::error::Error;
use crate::host::bundle;

/// Why a call is left to the program.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("{0}")]
    Is(&'static str),
    #[error("there are processes in its cgroups")]
    Busy,
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A container of runc's.
#[derive(Debug, Clone)]
pub struct Direct {
    binary: String,
    id: String,
    /// Where runc notes it.
    folder: PathBuf,
    bundle: PathBuf,
    /// Its cgroups are systemd's, whose scope Delete would have to stop.
    has_scope: bool,
}

impl Direct {
    /// None where every call is the program's. `root` is the runtime's.
    pub fn new(
        options: &Options,
        binary: &str,
        root: &Path,
        id: &str,
        bundle: &Path,
    ) -> Option<Self> {
        (options.direct_calls && bundle::is_plain(id)).then(|| Self {
            binary: binary.to_owned(),
            id: id.to_owned(),
            folder: root.join(id),
            bundle: bundle.to_owned(),
            has_scope: options.systemd_cgroup,
        })
    }

    fn check(&self) -> Result<(), Unfit> {
        program::check(&self.binary)
    }
}
