//! What clients are told of a failed call of the OCI runtime: the Go shim's words, which docker and others read.

use std::fmt::Write;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use podhook_hooks::linux::errno;

use crate::error::CallFailed;

/// What the words of a failed call mean. Runtimes have no other way to say why they failed, and this is the one place
/// where the shim decides by words: runc's first, then crun's.
pub fn call_failed(verb: &'static str, message: String, died: bool) -> CallFailed {
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    CallFailed {
        finished: says(&[
            "already finished",
            "not running",
            "no such process",
            "No such process",
        ]),
        no_container: says(&["does not exist"]),
        verb,
        message,
        died,
    }
}

/// The parts of the message of a failed call.
pub struct FailureParts<'a> {
    /// The last error that it logged.
    pub logged: Option<String>,
    /// The log it was told to write, which may not be there.
    pub log: &'a Path,
    /// How it ended: see [`ended`] and [`not_started`].
    pub how: String,
}

/// It ran: how it ended, and what it printed.
pub fn ended(binary: &str, status: &str, printed: &str) -> String {
    let mut how = format!("{binary} did not terminate successfully: {status}");
    if !printed.trim().is_empty() {
        let _ = write!(how, ": {}", printed.trim());
    }
    how
}

/// It could not be executed.
pub fn not_started(binary: &str, error: &io::Error) -> String {
    let errno = error.raw_os_error().map(Errno::from_raw);
    if errno == Some(Errno::ENOENT) && !binary.contains('/') {
        return format!("exec: {binary:?}: executable file not found in $PATH");
    }
    format!("fork/exec {binary}: {}", errno::text(error))
}

impl FailureParts<'_> {
    /// The error of the RPC that has called `verb`.
    pub fn of_call(self, verb: &'static str, died: bool) -> CallFailed {
        call_failed(verb, self.message(verb), died)
    }

    fn message(self, verb: &str) -> String {
        let Self { log, how, .. } = self;
        match (verb, self.logged) {
            // Without a look at the log: what the runtime prints says the same.
            ("update", _) => how,
            ("kill", _) => format!("unknown error after kill: {how}"),
            (_, Some(logged)) => format!("{}: {logged}", head(verb)),
            (_, None) if log.exists() => format!("{}: {how}{}", head(verb), unlogged(log)),
            (_, None) => format!(
                "{}: unable to retrieve OCI runtime error (open {}: no such file or directory): {how}{}",
                head(verb),
                log.display(),
                unlogged(log)
            ),
        }
    }
}

/// Why nothing was logged, where that can be seen: the reason is that of the call, too, as a rule.
fn unlogged(log: &Path) -> String {
    let folder = log.parent().unwrap_or(log);
    let is_full = statvfs(folder).is_ok_and(|it| {
        // A file system without limits has none of either.
        (it.blocks() > 0 && it.blocks_available() == 0) || (it.files() > 0 && it.files_free() == 0)
    });
    match is_full {
        true => format!(
            " (nothing can be logged to {}: {})",
            folder.display(),
            errno::name(libc::ENOSPC)
        ),
        false => String::new(),
    }
}

fn head(verb: &str) -> String {
    match verb {
        "delete" => "failed to delete task".to_owned(),
        verb => format!("OCI runtime {verb} failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtimes_words_say_what_is_not_there() {
        let says = |message: &str| {
            let failed = call_failed("kill", message.to_owned(), false);
            (failed.finished, failed.no_container)
        };
        let runc = "unknown error after kill: runc did not terminate successfully: exit status 1: ";
        for text in [
            "container not running",
            "os: process already finished",
            "kill container: No such process",
        ] {
            assert_eq!(says(&format!("{runc}{text}")), (true, false), "{text}");
        }
        assert_eq!(says("container \"x\" does not exist"), (false, true));
        assert_eq!(says("permission denied"), (false, false));
    }

    #[test]
    fn a_file_system_without_limits_is_not_full() {
        let message = |log: &str| {
            let failure = FailureParts {
                logged: None,
                log: Path::new(log),
                how: ended("runc", "exit status 1", ""),
            };
            failure.message("create")
        };
        // devtmpfs has room, and procfs nothing that could be used up.
        for (log, end) in [
            ("/dev/null", "exit status 1"),
            ("/proc/version", "exit status 1"),
        ] {
            assert!(message(log).ends_with(end), "{}", message(log));
        }
    }

    #[test]
    fn the_words_are_those_of_the_go_shim() {
        let missing = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(
            not_started("/no/such/runtime", &missing),
            "fork/exec /no/such/runtime: no such file or directory"
        );
        let refused = io::Error::from_raw_os_error(libc::EAGAIN);
        assert_eq!(
            not_started("/bin/runc", &refused),
            "fork/exec /bin/runc: resource temporarily unavailable"
        );
        assert_eq!(
            not_started("runc", &missing),
            "exec: \"runc\": executable file not found in $PATH"
        );
        let message = |verb, logged: Option<&str>, log: &str| {
            let failure = FailureParts {
                logged: logged.map(str::to_owned),
                log: Path::new(log),
                how: ended("runc", "exit status 1", "boom\n"),
            };
            failure.message(verb)
        };
        assert_eq!(
            message("create", Some("why"), "/dev/null"),
            "OCI runtime create failed: why"
        );
        assert_eq!(
            message("start", None, "/dev/null"),
            "OCI runtime start failed: runc did not terminate successfully: exit status 1: boom"
        );
        assert_eq!(
            message("delete", None, "/no/log.json"),
            "failed to delete task: unable to retrieve OCI runtime error (open /no/log.json: no such file or \
             directory): runc did not terminate successfully: exit status 1: boom"
        );
        assert_eq!(
            message("update", Some("why"), "/dev/null"),
            "runc did not terminate successfully: exit status 1: boom"
        );
    }
}
