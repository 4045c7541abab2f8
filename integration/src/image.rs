//! The images `integration/images/build` makes.

use std::path::PathBuf;
use std::process::Command;

use crate::command;
use crate::generation::{cache, repository};
use crate::shim::built;
use crate::wait::SOON;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Image {
    /// busybox with all its applets.
    Busybox,
    /// nginx in the foreground, logs to stdout and stderr, stop signal SIGQUIT; with sh and killall.
    Nginx,
    /// The process of pod sandboxes.
    Pause,
    /// A set-user-ID program that prints its effective user.
    NoNewPrivs,
    /// That of `deploy/`: podhook and its shim, as cargo has built them beside this program.
    Podhook,
}

/// An image that is not built.
#[derive(Debug, thiserror::Error)]
#[error("no {path}: run `integration/images/build`")]
pub struct NoImage {
    path: PathBuf,
}

impl Image {
    /// The reference it is imported under.
    #[must_use]
    pub fn reference(self) -> &'static str {
        match self {
            Self::Busybox => "docker.io/library/busybox:latest",
            Self::Nginx => "docker.io/library/nginx:latest",
            Self::Pause => "localhost/pause:latest",
            Self::NoNewPrivs => "localhost/nonewprivs:latest",
            Self::Podhook => concat!("registry.podhook.dev/podhook:v", env!("CARGO_PKG_VERSION")),
        }
    }

    /// The docker archive to import.
    ///
    /// # Errors
    /// When it is not built.
    pub fn archive(self) -> Result<PathBuf, NoImage> {
        let images = cache().join("images");
        let path = match self {
            Self::Busybox => images.join("busybox.tar"),
            Self::Nginx => images.join("nginx.tar"),
            Self::Pause => images.join("pause.tar"),
            Self::NoNewPrivs => images.join("nonewprivs.tar"),
            Self::Podhook => built("podhook-image.tar"),
        };
        if path.exists() {
            Ok(path)
        } else {
            Err(NoImage { path })
        }
    }
}

/// Makes the image of `deploy/` from what cargo has built.
///
/// # Errors
/// When it cannot be made: with what the builder says.
pub fn build_podhook() -> Result<(), command::Error> {
    let mut command = Command::new(repository().join("integration/images/build"));
    command
        .arg("--podhook")
        .args([built(""), built("podhook-image.tar")]);
    command::run(&mut command, None, SOON)?.success().map(drop)
}
