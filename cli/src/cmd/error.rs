//! What ends a command, in kubectl's words: here every error becomes a line and an exit status.
//!
//! Each module below has an error of its own; a command's own errors turn into this one where they are.

use std::io::ErrorKind;

use crate::cluster;
use crate::cri;
use crate::manifest;
use crate::node::{bundles, journal, metrics, query};
use crate::output::escape;
use crate::pods::{self, detached};
use crate::setup;
use crate::store;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// containerd.
    #[error(transparent)]
    Cri(#[from] cri::Error),
    /// Kubernetes.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The process that does the work went wrong.
    #[error(transparent)]
    Detached(#[from] detached::Error),
    /// The bundles of the node.
    #[error(transparent)]
    Bundles(#[from] bundles::Error),
    #[error(transparent)]
    Journal(#[from] journal::Error),
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
    /// The node that is set up.
    #[error(transparent)]
    Setup(#[from] setup::Error),
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    /// kubectl's "Error from server": code and text.
    #[error("Error from server ({code}): {message}")]
    Server {
        /// As `NotFound`.
        code: &'static str,
        /// As `pods "x" not found`.
        message: String,
    },
    /// Any other refusal.
    #[error("{0}")]
    Refused(String),
    /// What another program has said, with its own beginning.
    #[error("{0}")]
    Said(String),
    /// Several things went wrong, and were said already.
    #[error("")]
    Reported,
    #[error("interrupted")]
    Interrupted,
    /// The command run in the container ended with this status.
    #[error("command terminated with exit code {0}")]
    Exit(i32),
}

impl From<pods::Error> for Error {
    fn from(error: pods::Error) -> Self {
        match error {
            pods::Error::Cri(error) => Self::Cri(error),
            pods::Error::Store(error) => Self::Store(error),
            pods::Error::Server { code, message } => Self::Server { code, message },
            pods::Error::Arguments(message) => Self::Refused(message),
        }
    }
}

impl From<query::Unshown> for Error {
    fn from(_: query::Unshown) -> Self {
        Self::Reported
    }
}

impl Error {
    /// The exit status of `podhook`.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // Codes are a byte; runtimes report no others.
            Self::Exit(code) => u8::try_from(*code).unwrap_or(1),
            // As a shell reports a process that SIGINT has ended.
            Self::Interrupted => 130,
            _ => 1,
        }
    }

    /// The line for stderr, if there is one: kubectl puts "error: " before its own errors, not
    /// before the server's. It may quote what a manifest or a container holds: that is escaped.
    #[must_use]
    pub fn report(&self) -> Option<String> {
        let line = match self {
            Self::Reported | Self::Interrupted => return None,
            Self::Server { .. }
            | Self::Said(_)
            | Self::Exit(_)
            | Self::Manifest(manifest::Error::Invalid { .. }) => self.to_string(),
            _ => format!("error: {self}"),
        };
        let hint = self.hint().map(|hint| format!("\n  hint: {hint}"));
        let line = line + &hint.unwrap_or_default();
        Some(escape::lines(&line).into_owned())
    }

    /// What to do, where the error itself does not say it.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(store::Error::Io { source, .. }) => match source.kind() {
                ErrorKind::PermissionDenied => Some("root may: sudo podhook …"),
                ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull => {
                    Some("--root-dir names another folder for what podhook keeps")
                }
                _ => None,
            },
            Self::Store(store::Error::Mounted { .. }) => {
                Some("umount it, and delete the pod again")
            }
            Self::Manifest(manifest::Error::NoSuchPath { .. }) => {
                Some("-f takes a file, a folder of them, or - for stdin")
            }
            Self::Manifest(manifest::Error::NoObjects { .. }) => {
                Some("the files hold no document with apiVersion, kind and metadata")
            }
            Self::Detached(detached::Error::NoReport) => {
                Some("podhook get pods shows what has come of it, podhook delete takes a pod away")
            }
            Self::Server { code, message } => server_hint(code, message),
            _ => None,
        }
    }
}

/// The same of what kubectl's users know from a server.
fn server_hint(code: &str, message: &str) -> Option<&'static str> {
    match code {
        "NotFound" if message.starts_with("pods ") => {
            Some("podhook get pods -A lists those of all namespaces; -n names one")
        }
        "AlreadyExists" if message.starts_with("object is being deleted") => {
            Some("podhook get pods -w shows when it is gone")
        }
        "AlreadyExists" => Some(
            "a kubelet or crictl has made it, or podhook with another --root-dir: give the pod another name",
        ),
        "Forbidden" if message.contains("no runtime handler") => Some(
            "podhook install gives containerd the handler podhook; podhook doctor looks for it",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_error_says_what_to_do() {
        let io = |kind: ErrorKind| {
            let io = store::Error::io("create", Path::new("/var/lib/podhook"));
            Error::Store(io(kind.into()))
        };
        let server = |code, message: &str| Error::Server {
            code,
            message: message.to_owned(),
        };
        for (error, hint) in [
            (io(ErrorKind::PermissionDenied), "sudo podhook"),
            (io(ErrorKind::ReadOnlyFilesystem), "--root-dir"),
            (manifest::Error::NoObjects { verb: "apply" }.into(), "kind"),
            (pods::Error::no_pod("web").into(), "podhook get pods -A"),
            (
                server("AlreadyExists", "object is being deleted: pods \"web\""),
                "get pods -w",
            ),
            (
                server("Forbidden", "containerd has no runtime handler"),
                "podhook install",
            ),
        ] {
            let report = error.report().unwrap();
            let (line, said) = report.split_once("\n  hint: ").unwrap();
            assert!(!line.contains("hint") && said.contains(hint), "{report}");
        }
        let report = server("BadRequest", "container c9 is not valid")
            .report()
            .unwrap();
        assert!(!report.contains("hint"), "{report}");
    }

    #[test]
    fn an_error_cannot_write_to_the_terminal() {
        let error = Error::Refused("no \x1b[2J\u{9b}1m\u{202e}:\n  a\rb".to_owned());
        assert_eq!(
            error.report().as_deref(),
            Some("error: no \\x1b[2J\\u009b1m\\u202e:\n  a\\rb")
        );
    }
}
