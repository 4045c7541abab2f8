//! What can go wrong, in words a user of `runc exec` knows.

use std::io;
use std::path::PathBuf;

use super::report::Step;

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
    #[error("{operation} {}: {}", path.display(), errno_text(source))]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A system call without a file, before the process was made.
    #[error("{operation}: {}", errno_text(source))]
    System {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The seccomp profile cannot be compiled.
    #[error("seccomp profile: {0}")]
    Seccomp(String),
    /// A step of the new process failed.
    #[error("{message}")]
    Start {
        /// Which one.
        step: Step,
        /// Its errno.
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

    /// The error in a context that names the command already: why it could not be run, no more.
    pub fn reason(&self) -> String {
        match self {
            Self::Start { step, errno, .. } => match step {
                // With the limit that is reached.
                Step::Exec if *errno == libc::EAGAIN => self.to_string(),
                Step::NotFound => "executable file not found in $PATH".to_string(),
                Step::Stat | Step::Exec => errno_name(*errno),
                _ => self.to_string(),
            },
            _ => self.to_string(),
        }
    }

    /// True where another way to run the process may succeed.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported(_))
    }
}

/// The error without Rust's `(os error 2)`, in lower case: as Go and so runc print it.
fn errno_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => errno_name(errno),
        None => error.to_string(),
    }
}

/// strerror(3) as Go's table has it.
pub(super) fn errno_name(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // "RFS specific error" keeps its capitals, "No such file" does not.
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_go_prints_them() {
        assert_eq!(errno_name(libc::ENOENT), "no such file or directory");
        assert_eq!(errno_name(libc::EACCES), "permission denied");
        let error = Error::File {
            operation: "open",
            path: "/x".into(),
            source: io::Error::from_raw_os_error(libc::ENOTDIR),
        };
        assert_eq!(error.to_string(), "open /x: not a directory");
    }
}
