//! The shim's errors and, in one place, the RPC codes that they become.

use std::io;
use std::path::PathBuf;

use containerd_shim_protos::ttrpc::{self, Code};
use podhook_hooks::config_json::ConfigJsonError;
use podhook_hooks::lifecycle::text;

/// An error of a task RPC or of a verb.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container, process or cgroup does not exist (any more).
    #[error("{0}")]
    NotFound(String),
    /// The id is taken.
    #[error("{0}")]
    AlreadyExists(String),
    /// The request, the options or an annotation is wrong.
    #[error("{0}")]
    InvalidArgument(String),
    /// The process is not in a state for this.
    #[error("{0}")]
    FailedPrecondition(String),
    /// More of something is asked for than the shim gives.
    #[error("{0}")]
    ResourceExhausted(String),
    /// The container or the exec is not in a state for this, in the words of the Go shim, which has no code for it.
    #[error("{0}")]
    Refused(&'static str),
    /// The bundle's configuration cannot be read, or is none.
    #[error(transparent)]
    ConfigJson(#[from] ConfigJsonError),
    /// A call of the OCI runtime failed.
    #[error(transparent)]
    Runtime(#[from] CallFailed),
    /// The exec engine could not make a process, as runc words it.
    #[error("OCI runtime exec failed: exec failed: {step}{source}")]
    Exec {
        /// `unable to start container process: `, or nothing.
        step: &'static str,
        /// What the engine came upon.
        source: podhook_hooks::exec::Error,
    },
    /// A process that Start of an exec was making is never to run, for this reason.
    #[error("OCI runtime exec failed: exec failed: {0}")]
    ExecGivenUp(&'static str),
    /// Start failed by its postStart hook.
    #[error("{0}")]
    PostStart(String),
    /// CRIU could not write a checkpoint.
    #[error("{} path= {}", first_line(source), log.display())]
    Checkpoint {
        source: Box<Error>,
        /// Where CRIU's log is.
        log: PathBuf,
    },
    /// What was waited for, or is always there, is not.
    #[error("{0}")]
    Missing(&'static str),
    /// The logging binary said nothing in time.
    #[error("logging binary {} did not get ready", .0.display())]
    LoggerNotReady(PathBuf),
    /// An operation that is neither on a file nor a system call failed.
    #[error("{operation}: {source}")]
    Failed {
        /// What was tried, and on what.
        operation: String,
        source: Source,
    },
    /// What a lower layer says, which names the operation itself.
    #[error("{0}")]
    Lower(#[source] Source),
    #[error("{operation} {}: {source}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A system call without a path failed.
    #[error("{operation}: {source}")]
    Sys {
        operation: &'static str,
        source: io::Error,
    },
}

/// The error of another layer.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failed call of the OCI runtime, and what its words mean: those are read in one place, `call_failed` of the
/// runtime.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CallFailed {
    pub verb: &'static str,
    /// What clients are told.
    pub message: String,
    /// It was killed or has crashed, and has not undone what it had begun.
    pub died: bool,
    /// It says that the process has ended.
    pub finished: bool,
    /// It says that it has no such container.
    pub no_container: bool,
}

fn first_line(error: &Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The result of everything in the shim.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failed operation on a file, for `map_err`.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }

    /// A failed system call, for `map_err`.
    pub fn sys<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Sys {
            operation,
            source: source.into(),
        }
    }

    /// A failed operation of another kind, for `map_err`.
    pub fn failed<E: Into<Source>>(operation: impl Into<String>) -> impl FnOnce(E) -> Self {
        let operation = operation.into();
        move |source| Self::Failed {
            operation,
            source: source.into(),
        }
    }

    /// An error of another layer that names its operation.
    pub fn lower(source: impl Into<Source>) -> Self {
        Self::Lower(source.into())
    }

    fn code(&self) -> Code {
        match self {
            Self::NotFound(_) => Code::NOT_FOUND,
            Self::AlreadyExists(_) => Code::ALREADY_EXISTS,
            Self::InvalidArgument(_) | Self::ConfigJson(ConfigJsonError::Parse { .. }) => {
                Code::INVALID_ARGUMENT
            }
            Self::FailedPrecondition(_) => Code::FAILED_PRECONDITION,
            Self::ResourceExhausted(_) => Code::RESOURCE_EXHAUSTED,
            // As the Go shim, which has a code for few of its errors.
            Self::Refused(_)
            | Self::ConfigJson(ConfigJsonError::Read { .. })
            | Self::Runtime(_)
            | Self::Exec { .. }
            | Self::ExecGivenUp(_)
            | Self::PostStart(_)
            | Self::Checkpoint { .. }
            | Self::Missing(_)
            | Self::LoggerNotReady(_)
            | Self::Failed { .. }
            | Self::Lower(_)
            | Self::Io { .. }
            | Self::Sys { .. } => Code::UNKNOWN,
        }
    }
}

/// Whether the kernel had no more of something at that moment: of descriptors or memory. What failed so may succeed
/// later, and must not pass for something that is not there.
pub fn is_exhaustion(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .filter_map(io::Error::raw_os_error)
        .any(|errno| matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

impl From<Error> for ttrpc::Error {
    /// The message ends with the words of its code, as the Go shim's do: containerd's clients before
    /// 2.0 cut them off and append their own, later ones show the message as it is.
    ///
    /// Clients print it on terminals. What a container, an image or the OCI runtime has put into it (a program's
    /// name, a hook's output) is escaped here, for every call.
    fn from(error: Error) -> Self {
        let words = match error.code() {
            Code::NOT_FOUND => ": not found",
            Code::ALREADY_EXISTS => ": already exists",
            Code::INVALID_ARGUMENT => ": invalid argument",
            Code::FAILED_PRECONDITION => ": failed precondition",
            Code::RESOURCE_EXHAUSTED => ": resource exhausted",
            _ => "",
        };
        let message = text::visible_lines(&format!("{error}{words}")).into_owned();
        Self::RpcStatus(ttrpc::get_status(error.code(), message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhaustion_is_found_below_what_names_the_operation() {
        let io = |errno| Error::io("open", "/x")(io::Error::from_raw_os_error(errno));
        assert!(is_exhaustion(&io(libc::EMFILE)));
        assert!(!is_exhaustion(&io(libc::ENOENT)));
        assert!(is_exhaustion(&Error::lower(io(libc::ENFILE))));
        assert!(is_exhaustion(&Error::failed("mount")(io(libc::ENOMEM))));
        assert!(!is_exhaustion(&Error::Refused("too many open files")));
    }

    #[test]
    fn a_configuration_that_is_none_is_the_clients_fault_and_one_that_cannot_be_read_is_not() {
        let path = || PathBuf::from("/b/config.json");
        let source = serde_json::from_str::<()>("{").unwrap_err();
        let parse = Error::from(ConfigJsonError::Parse {
            path: path(),
            source,
        });
        assert_eq!(parse.code(), Code::INVALID_ARGUMENT);
        let source = io::Error::from_raw_os_error(libc::EMFILE);
        let read = Error::from(ConfigJsonError::Read {
            path: path(),
            source,
        });
        assert_eq!(read.code(), Code::UNKNOWN);
        assert!(is_exhaustion(&read), "no descriptor was free");
    }

    #[test]
    fn every_error_has_its_code_and_says_so_in_words() {
        let rpc = |error: Error| match ttrpc::Error::from(error) {
            ttrpc::Error::RpcStatus(status) => (status.code(), status.message),
            other => panic!("{other}"),
        };
        let text = || "x".to_owned();
        assert_eq!(
            rpc(Error::NotFound(text())),
            (Code::NOT_FOUND, "x: not found".into())
        );
        assert_eq!(
            rpc(Error::InvalidArgument(text())),
            (Code::INVALID_ARGUMENT, "x: invalid argument".into())
        );
        assert_eq!(rpc(Error::Refused("x")), (Code::UNKNOWN, "x".into()));
        let evil = "exec \x1b[2J\u{9b}1m\r: line\n\tline";
        assert_eq!(
            rpc(Error::PostStart(evil.into())).1,
            "exec \\x1b[2J\\u009b1m\\r: line\n\tline"
        );
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let (code, message) = rpc(Error::io("read", "/b/config.json")(missing));
        assert_eq!(code, Code::UNKNOWN);
        assert!(message.starts_with("read /b/config.json: "), "{message}");
    }
}
