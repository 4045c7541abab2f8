//! The images `integration/images/build` makes.

use std::path::PathBuf;

use crate::generation::cache;

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
        }
    }

    /// The docker archive to import.
    ///
    /// # Errors
    /// When it is not built.
    pub fn archive(self) -> Result<PathBuf, NoImage> {
        let path = cache().join("images").join(match self {
            Self::Busybox => "busybox.tar",
            Self::Nginx => "nginx.tar",
            Self::Pause => "pause.tar",
            Self::NoNewPrivs => "nonewprivs.tar",
        });
        if path.exists() {
            Ok(path)
        } else {
            Err(NoImage { path })
        }
    }
}
