//! The shims a test can run with, and the ways containerd is told of them.

use std::path::PathBuf;
use std::{env, fmt};

use crate::generation::{Generation, repository};

/// A shim and the way it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ShimKind {
    /// containerd's own containerd-shim-runc-v2, of the same generation.
    Runc,
    /// podhook by `runtime_path` with runtime type `io.containerd.runc.v2`: the documented default.
    Podhook,
    /// podhook by its own runtime type, `io.containerd.podhook.v1`, found in containerd's PATH.
    PodhookV1,
    /// The same with `sandboxer = "shim"`: pods without a pause container. containerd 2.3 and later.
    Pauseless,
}

/// podhook's binary is not there.
#[derive(Debug, thiserror::Error)]
#[error("no {path}: run `make build`, or set PODHOOK_SHIM to the shim to be tested")]
pub struct NoShim {
    path: PathBuf,
}

impl ShimKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Runc, Self::Podhook, Self::PodhookV1, Self::Pauseless];

    /// The CRI runtime handler (what a `RuntimeClass` names).
    #[must_use]
    pub fn handler(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Podhook => "podhook",
            Self::PodhookV1 => "podhook-v1",
            Self::Pauseless => "podhook-pauseless",
        }
    }

    /// What `ctr run --runtime` takes.
    ///
    /// # Errors
    /// When podhook is asked for and not built.
    pub fn runtime(self) -> Result<String, NoShim> {
        Ok(match self {
            Self::Runc => "io.containerd.runc.v2".to_owned(),
            Self::Podhook => podhook_shim()?.to_string_lossy().into_owned(),
            Self::PodhookV1 | Self::Pauseless => "io.containerd.podhook.v1".to_owned(),
        })
    }

    /// True for every way to configure podhook.
    #[must_use]
    pub fn is_podhook(self) -> bool {
        self != Self::Runc
    }

    /// Whether this containerd can be told of it.
    #[must_use]
    pub fn is_for(self, generation: Generation) -> bool {
        self != Self::Pauseless || generation >= Generation::V2_3
    }

    /// The kind a matrix entry names by its handler.
    #[must_use]
    pub fn named(handler: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.handler() == handler)
    }
}

impl fmt::Display for ShimKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.handler())
    }
}

/// The podhook shim under test: `$PODHOOK_SHIM`, else what cargo built beside this program.
///
/// # Errors
/// When it is not there.
pub fn podhook_shim() -> Result<PathBuf, NoShim> {
    let path = env::var_os("PODHOOK_SHIM")
        .map_or_else(|| built("containerd-shim-podhook-v1"), PathBuf::from);
    if path.exists() {
        Ok(path)
    } else {
        Err(NoShim { path })
    }
}

/// A program of this workspace, in the profile this one was built with: `target/debug` or `target/release`.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let mut folder = env::current_exe().unwrap_or_default();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    if folder.as_os_str().is_empty() {
        folder = repository().join("target/debug");
    }
    folder.join(name)
}
