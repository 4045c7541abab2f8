//! What can go wrong, in words a user of `runc exec` knows.

use std::io;
use std::path::PathBuf;

use super::plan::arena;
use super::plan::report::Step;
use crate::lifecycle::text;
use crate::linux::errno;

/// Go's exec.ErrNotFound, which is what runc's users know.
pub(super) const NOT_FOUND: &str = "executable file not found in $PATH";

/// Why a process could not be run in a container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine does not do this; `runc exec` may.
    #[error("not supported by the exec engine: {0}")]
    Unsupported(String),
    /// The process specification is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The container's first process has ended.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// A system call before the process was made.
    #[error("{operation} {}: {}", path.display(), errno::text(source))]
    File {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A system call without a file, before the process was made.
    #[error("{operation}: {}", errno::text(source))]
    System {
        operation: &'static str,
        source: io::Error,
    },
    /// The seccomp profile cannot be compiled.
    #[error("seccomp profile: {0}")]
    Seccomp(String),
    /// A step of the new process failed.
    #[error("{message}")]
    Start {
        step: Step,
        errno: i32,
        /// As `runc exec` words it.
        message: String,
    },
    /// The new process was killed before it became the command.
    #[error("killed by signal {signal} while joining the container{}", if *.oom { " (out of memory)" } else { "" })]
    Killed {
        /// By which signal.
        signal: i32,
        /// The container's memory limit was hit meanwhile.
        oom: bool,
    },
}

impl Error {
    pub(super) fn system(operation: &'static str) -> Self {
        Self::System {
            operation,
            source: io::Error::last_os_error(),
        }
    }

    /// Why a hook's command could not be run, with the file or the program that it is about. What is named cannot
    /// sound like another reason: see [`text::neutral`].
    pub fn reason(&self) -> String {
        let Self::Start {
            step,
            errno,
            message,
        } = self
        else {
            return self.to_string();
        };
        let why = match step {
            Step::NotFound => NOT_FOUND.to_string(),
            _ => errno::name(*errno),
        };
        let hint = match (step, *errno) {
            // It was found a moment before.
            (Step::Exec, libc::ENOENT) => " (the file is there: its interpreter or loader is not)",
            _ => "",
        };
        match message.strip_suffix(&why) {
            Some(about) => format!("{}{why}{hint}", text::neutral(about)),
            None => message.clone(),
        }
    }

    /// True where another way to run the process may succeed.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported(_))
    }
}

impl From<arena::Error> for Error {
    fn from(error: arena::Error) -> Self {
        match error {
            arena::Error::Full => Self::Invalid(error.to_string()),
            arena::Error::Mmap(source) => Self::System {
                operation: "mmap",
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_the_program_and_a_program_cannot_fake_a_reason() {
        let reason = |step, errno, message: &str| {
            let message = message.to_string();
            let error = Error::Start {
                step,
                errno,
                message,
            };
            error.reason()
        };
        assert_eq!(
            reason(
                Step::NotFound,
                libc::ENOENT,
                r#"exec: "permission denied": executable file not found in $PATH"#
            ),
            r#"exec: "permission-denied": executable file not found in $PATH"#
        );
        assert_eq!(
            reason(
                Step::Stat,
                libc::ENOENT,
                r#"exec: "/no": stat /no: no such file or directory"#
            ),
            r#"exec: "/no": stat /no: no such file or directory"#
        );
        assert_eq!(
            reason(
                Step::Exec,
                libc::ENOENT,
                "exec /a.sh: no such file or directory"
            ),
            "exec /a.sh: no such file or directory (the file is there: its interpreter or loader is not)"
        );
    }

    #[test]
    fn errors_read_as_go_prints_them() {
        let error = Error::File {
            operation: "open",
            path: "/x".into(),
            source: io::Error::from_raw_os_error(libc::ENOTDIR),
        };
        assert_eq!(error.to_string(), "open /x: not a directory");
    }
}
