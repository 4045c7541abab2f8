//! The text of an errno as Go prints it, and so containerd, runc and the kubelet.

use std::io;

use super::limit;

/// As Go's table has it, whatever the C library says: musl's has other words.
pub fn name(errno: i32) -> String {
    known(errno).map_or_else(|| format!("errno {errno}"), str::to_owned)
}

fn known(errno: i32) -> Option<&'static str> {
    let at = errno.checked_sub(1).and_then(|at| usize::try_from(at).ok());
    NAMES.get(at?).copied().filter(|name| !name.is_empty())
}

/// As glibc has it: with a capital.
#[cfg(any(test, target_env = "musl"))]
pub(crate) fn sentence(errno: i32) -> String {
    match (errno, known(errno)) {
        (0, _) => "Success".to_owned(),
        (_, None) => format!("Unknown error {errno}"),
        (_, Some(name)) => {
            let mut chars = name.chars();
            let first = chars.next().into_iter().flat_map(char::to_uppercase);
            first.chain(chars).collect()
        }
    }
}

/// The error without Rust's `(os error 2)`, as Go prints it.
pub fn text(error: &io::Error) -> String {
    if let Some((kernels, limit)) = limit::explained(error) {
        return format!("{} ({limit})", text(kernels));
    }
    match error.raw_os_error() {
        Some(errno) => name(errno),
        None => error.to_string(),
    }
}

/// "No such file" begins in lower case, "RFS specific error" keeps its capitals.
pub(crate) fn lower_case(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_string(),
    }
}

/// The words of each errno from 1 on; numbers that mean nothing have none. They are the same on x86-64 and arm64.
#[rustfmt::skip]
const NAMES: [&str; 133] = [
    "operation not permitted", "no such file or directory", "no such process", "interrupted system call",
    "input/output error", "no such device or address", "argument list too long", "exec format error",
    "bad file descriptor", "no child processes", "resource temporarily unavailable", "cannot allocate memory",
    "permission denied", "bad address", "block device required", "device or resource busy", "file exists",
    "invalid cross-device link", "no such device", "not a directory", "is a directory", "invalid argument",
    "too many open files in system", "too many open files", "inappropriate ioctl for device", "text file busy",
    "file too large", "no space left on device", "illegal seek", "read-only file system", "too many links",
    "broken pipe", "numerical argument out of domain", "numerical result out of range", "resource deadlock avoided",
    "file name too long", "no locks available", "function not implemented", "directory not empty",
    "too many levels of symbolic links", "", "no message of desired type", "identifier removed",
    "channel number out of range", "level 2 not synchronized", "level 3 halted", "level 3 reset",
    "link number out of range", "protocol driver not attached", "no CSI structure available", "level 2 halted",
    "invalid exchange", "invalid request descriptor", "exchange full", "no anode", "invalid request code",
    "invalid slot", "", "bad font file format", "device not a stream", "no data available", "timer expired",
    "out of streams resources", "machine is not on the network", "package not installed", "object is remote",
    "link has been severed", "advertise error", "srmount error", "communication error on send", "protocol error",
    "multihop attempted", "RFS specific error", "bad message", "value too large for defined data type",
    "name not unique on network", "file descriptor in bad state", "remote address changed",
    "can not access a needed shared library", "accessing a corrupted shared library",
    ".lib section in a.out corrupted", "attempting to link in too many shared libraries",
    "cannot exec a shared library directly", "invalid or incomplete multibyte or wide character",
    "interrupted system call should be restarted", "streams pipe error", "too many users",
    "socket operation on non-socket", "destination address required", "message too long",
    "protocol wrong type for socket", "protocol not available", "protocol not supported",
    "socket type not supported", "operation not supported", "protocol family not supported",
    "address family not supported by protocol", "address already in use", "cannot assign requested address",
    "network is down", "network is unreachable", "network dropped connection on reset",
    "software caused connection abort", "connection reset by peer", "no buffer space available",
    "transport endpoint is already connected", "transport endpoint is not connected",
    "cannot send after transport endpoint shutdown", "too many references: cannot splice", "connection timed out",
    "connection refused", "host is down", "no route to host", "operation already in progress",
    "operation now in progress", "stale file handle", "structure needs cleaning", "not a XENIX named type file",
    "no XENIX semaphores available", "is a named type file", "remote I/O error", "disk quota exceeded",
    "no medium found", "wrong medium type", "operation canceled", "required key not available", "key has expired",
    "key has been revoked", "key was rejected by service", "owner died", "state not recoverable",
    "operation not possible due to RF-kill", "memory page has hardware error",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_reads_as_go_prints_it() {
        assert_eq!(name(libc::ENOENT), "no such file or directory");
        assert_eq!(name(libc::EACCES), "permission denied");
        assert_eq!(name(libc::EAGAIN), "resource temporarily unavailable");
        assert_eq!(name(libc::ESRMNT), "srmount error");
        assert_eq!(name(libc::ETIMEDOUT), "connection timed out");
        assert_eq!(name(libc::ELOOP), "too many levels of symbolic links");
        // ENOTSUPP, which the kernel lets slip now and then, a gap in the numbers, and no errno at all.
        for other in [524, 41, 0, -1, i32::MIN] {
            assert_eq!(name(other), format!("errno {other}"));
        }
    }

    /// Go's table was made from glibc's, and the standard library has them with every C library.
    #[test]
    fn the_words_are_those_of_glibc() {
        let text = |errno| io::Error::from_raw_os_error(errno).to_string();
        let known = |errno: &i32| !text(*errno).starts_with("Unknown error");
        assert_eq!(text(libc::EMFILE), "Too many open files (os error 24)");
        for errno in (1..4096).filter(known) {
            let words = format!("{} (os error {errno})", name(errno));
            assert_eq!(words, lower_case(&text(errno)));
        }
        for errno in 0..4096 {
            assert_eq!(
                format!("{} (os error {errno})", sentence(errno)),
                text(errno)
            );
        }
    }

    #[test]
    fn an_error_of_no_errno_keeps_its_words() {
        assert_eq!(
            text(&io::Error::from_raw_os_error(libc::ENOTDIR)),
            "not a directory"
        );
        assert_eq!(text(&io::Error::other("Something else")), "Something else");
    }
}
