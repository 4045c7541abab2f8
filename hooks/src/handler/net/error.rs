//! Why a request failed, in words for users.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use crate::linux::errno;

/// A failed request or connection. The URL or address is for the one who reports it.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetError {
    /// The namespace could not be entered or asked.
    #[error("{operation}: {}", cause(source))]
    Namespace {
        operation: &'static str,
        source: io::Error,
    },
    #[error("{host} must be a host name or an IP address")]
    Host { host: String },
    /// A name that has no address in the container, as Go words it: ` on <server>: <reason>`.
    #[error("lookup {name}{reason}")]
    Lookup { name: String, reason: String },
    #[error("no interface {zone} in the pod")]
    Zone { zone: String },
    /// At least one attempt, in order.
    #[error("{}", self::attempts(attempts, *named))]
    Connect {
        attempts: Vec<Attempt>,
        /// Whether the host is a name.
        named: bool,
    },
    #[error("header {name}: {reason}")]
    Header { name: String, reason: &'static str },
    #[error("path: {0}")]
    Path(String),
    #[error("TLS: {0}")]
    Tls(String),
    /// Go's words, which Kubernetes users know.
    #[error("server gave HTTP response to HTTPS client")]
    PlainHttp,
    #[error("{0}")]
    Http(String),
    #[error("bad redirect to {0}")]
    Location(String),
    #[error("stopped after {0} redirects")]
    Redirects(usize),
}

impl NetError {
    /// The address that was tried first, where it was not looked up.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            NetError::Connect {
                attempts,
                named: false,
            } => attempts.first().map(|attempt| attempt.address),
            _ => None,
        }
    }
}

/// One address that did not answer.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) address: SocketAddr,
    pub(super) error: io::Error,
}

/// The first address stands in the URL already, unless that has a name; the others are named.
fn attempts(attempts: &[Attempt], named: bool) -> String {
    let mut text = String::new();
    for (index, attempt) in attempts.iter().enumerate() {
        if index > 0 {
            text.push_str("; ");
        }
        if named || index > 0 {
            text.push_str(&format!("{}: ", attempt.address));
        }
        text.push_str(&cause(&attempt.error));
    }
    text
}

/// An I/O error as a part of a sentence: `connection refused`.
pub(super) fn cause(error: &io::Error) -> String {
    errno::lower_case(&errno::text(error))
}

/// A protocol error of hyper.
pub(super) fn http(error: &hyper::Error) -> NetError {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return NetError::Http(cause(io));
        }
        source = inner.source();
    }
    NetError::Http(if error.is_parse() {
        // "message head is too large", "invalid HTTP version parsed", …
        format!("malformed HTTP response: {error}")
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "the server closed the connection without a response".to_owned()
    } else {
        error.to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_worded_as_everywhere_else_and_begins_in_lower_case() {
        let of = |errno| cause(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::ECONNREFUSED), "connection refused");
        assert_eq!(of(libc::EAGAIN), "resource temporarily unavailable");
        assert_eq!(cause(&io::Error::other("Early end")), "early end");
    }
}
