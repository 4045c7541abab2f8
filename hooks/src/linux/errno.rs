//! The text of an errno as Go prints it, and so containerd, runc and the kubelet.

use std::io;

/// strerror(3) as Go's table has it: in lower case.
pub fn name(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    lower_case(text.split(" (os error").next().unwrap_or_default())
}

/// The error without Rust's `(os error 2)`, as Go prints it.
pub fn text(error: &io::Error) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_reads_as_go_prints_it() {
        assert_eq!(name(libc::ENOENT), "no such file or directory");
        assert_eq!(name(libc::EACCES), "permission denied");
        assert_eq!(name(libc::EAGAIN), "resource temporarily unavailable");
        assert_eq!(name(libc::ESRMNT), "srmount error");
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
