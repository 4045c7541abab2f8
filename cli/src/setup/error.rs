//! Why a node was not set up, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {operation} {}: {source}{}", path.display(), may(source))]
    Io {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A link where a file is to be replaced.
    #[error("{} is a symbolic link{}: podhook writes through none\n  hint: {}", path.display(), to(target.as_deref()), link_hint(target.as_deref()))]
    Link {
        path: PathBuf,
        target: Option<PathBuf>,
    },
    /// The way to a file is not root's alone.
    #[error("{} is {why}: nothing is written by way of it\n  hint: {hint}", path.display())]
    Untrusted {
        path: PathBuf,
        why: &'static str,
        hint: &'static str,
    },
    /// Everything else, with what to do.
    #[error("{what}\n  hint: {hint}")]
    Refused { what: String, hint: String },
}

impl Error {
    pub(super) fn io(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            hint: hint.into(),
        }
    }
}

fn may(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "\n  hint: root may: sudo podhook …",
        io::ErrorKind::ReadOnlyFilesystem => {
            "\n  hint: a read-only system: --bin-dir names another folder for the programs"
        }
        _ => "",
    }
}

fn to(target: Option<&Path>) -> String {
    target.map_or_else(String::new, |target| format!(" to {}", target.display()))
}

fn link_hint(target: Option<&Path>) -> String {
    match target {
        Some(target) => format!("name the file itself: --config {}", target.display()),
        None => "it leads nowhere: remove it".to_owned(),
    }
}
