//! The shims that are compared.

use std::fs;
use std::path::{Path, PathBuf};

use podhook_integration::generation::cache;
use podhook_integration::shim::podhook_shim;
use podhook_integration::{Containerd, Generation, ShimKind};

use crate::Fallible;

/// A shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shim {
    Podhook,
    /// containerd-shim-runc-v2 of the containerd in use.
    Original,
    /// containerd-runc-shim, which containerd's project publishes on crates.io.
    Rust,
    /// podhook's pods without a pause container: beside the others where pods are made by CRI.
    Pauseless,
}

/// Its name as a runtime type wants it: containerd looks for `containerd-shim-published-v1`.
const PUBLISHED: &str = "io.containerd.published.v1";

impl Shim {
    /// Those with the same pods.
    pub const ALL: [Self; 3] = [Self::Podhook, Self::Original, Self::Rust];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Podhook => "podhook",
            Self::Original => "containerd-shim-runc-v2",
            Self::Rust => "containerd-runc-shim",
            Self::Pauseless => "podhook-pauseless",
        }
    }

    /// The CRI runtime handler.
    #[must_use]
    pub fn handler(self) -> &'static str {
        match self {
            Self::Podhook => ShimKind::Podhook.handler(),
            Self::Original => ShimKind::Runc.handler(),
            Self::Rust => "published",
            Self::Pauseless => ShimKind::Pauseless.handler(),
        }
    }

    /// What `ctr run --runtime` takes.
    ///
    /// # Errors
    /// When podhook is asked for and not built.
    pub fn runtime(self) -> Fallible<String> {
        Ok(match self {
            Self::Podhook => ShimKind::Podhook.runtime()?,
            Self::Original => ShimKind::Runc.runtime()?,
            Self::Rust => PUBLISHED.to_owned(),
            Self::Pauseless => ShimKind::Pauseless.runtime()?,
        })
    }

    /// The binary.
    ///
    /// # Errors
    /// When it is not there: says why.
    pub fn program(self, generation: Generation) -> Fallible<PathBuf> {
        match self {
            Self::Podhook | Self::Pauseless => Ok(podhook_shim()?),
            Self::Original => Ok(generation.program("containerd-shim-runc-v2")?),
            Self::Rust => published(),
        }
    }
}

/// What `integration/rust-shim` has built.
fn published() -> Fallible<PathBuf> {
    let program = cache().join("rust-shim/bin/containerd-shim-runc-v2-rs");
    if program.exists() {
        return Ok(program);
    }
    let reason = fs::read_to_string(cache().join("rust-shim.failed"));
    let reason = reason.unwrap_or_else(|_| "not built: integration/rust-shim builds it".to_owned());
    Err(reason.trim().into())
}

/// Adds the published Rust shim to containerd's PATH and to its configuration, for its next start.
///
/// # Errors
/// When it is not built, or a file cannot be written.
pub fn add_published(containerd: &Containerd, config: &Path) -> Fallible<()> {
    let program = published()?;
    let link = containerd.dir().join("bin/containerd-shim-published-v1");
    std::os::unix::fs::symlink(program, link)?;
    let plugin = match containerd.generation() >= Generation::V2 {
        true => "io.containerd.cri.v1.runtime",
        false => "io.containerd.grpc.v1.cri",
    };
    let handler = Shim::Rust.handler();
    let text = fs::read_to_string(config)?;
    let section = format!(
        "[plugins.\"{plugin}\".containerd.runtimes.{handler}]\nruntime_type = \"{PUBLISHED}\"\n"
    );
    fs::write(config, text + &section)?;
    Ok(())
}
