//! `httpGet` and `tcpSocket`: requests from the container's network namespace.
//!
//! Every socket is made inside that namespace, so a hook reaches what the container reaches and
//! nothing else: no node loopback, no node network. A name means what it means to the container
//! ([`resolve`]): the node's own names and name servers stay out of it. No host means the pod itself,
//! as for the kubelet.
//!
//! Nothing outlives a request: its memory, its TLS state and its sockets go with the future. A slow
//! or silent server is waited for; to give up is to drop the future, which closes the socket.

mod address;
mod crypto;
mod dial;
mod error;
mod exchange;
mod follow;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod headers;
mod host;
mod namespace;
mod resolve;
mod stream;
mod tls;
mod url;

use std::os::fd::BorrowedFd;

use crate::lifecycle::{Header, Scheme};

pub use crate::lifecycle::Statuses;

/// The container's network, and what its names are looked up with.
#[derive(Debug, Clone, Copy)]
pub struct Network<'a> {
    /// Its network namespace: an open `/proc/<pid>/ns/net`.
    pub netns: BorrowedFd<'a>,
    /// Its root directory: an open `/proc/<pid>/root`.
    pub root: BorrowedFd<'a>,
}

/// What an `httpGet` handler asks for.
#[derive(Debug, Clone, Copy)]
pub struct HttpGet<'a> {
    /// Path and query as the lifecycle has them.
    pub path: &'a str,
    pub port: u16,
    /// A name, an IP address or `localhost`; none for the pod itself.
    pub host: Option<&'a str>,
    /// HTTP, or TLS without certificate verification, as the kubelet.
    pub scheme: Scheme,
    /// Sent in order after ours.
    pub headers: &'a [Header],
}

/// How a request ended.
#[derive(Debug)]
pub struct HttpOutcome {
    /// The status of the response it ended with. None where there is no such response: no
    /// connection, a malformed answer, too many redirects.
    pub status: Option<u16>,
    /// Whether its status is a success. The error is a short message for users, with the URL.
    pub result: Result<(), String>,
    /// The first 4 KiB of the response's body.
    pub body: Vec<u8>,
}

/// Sends a GET from the container's network and waits for the end of the response, at most 10 KiB
/// of it. A status in `success` is one.
///
/// Without a host it goes to the namespace's first global IPv4 address, then its first global IPv6
/// address, then 127.0.0.1, then ::1: to the next where one is refused or unreachable. Of a name's
/// addresses it goes to the first that takes the connection. Redirects
/// to the same host are followed, up to 10; one to another host is not, and is a success. A server
/// that answers an HTTPS request in plain HTTP is asked again in plain HTTP without the
/// `Authorization` header, as the kubelet does.
///
/// Waits as long as the server lets it: the caller sets the deadline.
pub async fn http_get(
    network: Network<'_>,
    request: &HttpGet<'_>,
    success: Statuses,
) -> HttpOutcome {
    match follow::get(network, request).await {
        Ok(response) => HttpOutcome {
            status: Some(response.status.as_u16()),
            result: response.verdict(success),
            body: response.body,
        },
        Err(failure) => HttpOutcome {
            status: None,
            result: Err(failure.to_string()),
            body: Vec::new(),
        },
    }
}

/// Connects from the container's network and closes the connection again. Host and addresses as for
/// [`http_get`]; the error is a short message for users.
///
/// Waits as long as the peer lets it: the caller sets the deadline.
///
/// # Errors
/// Why there is no connection, in a few words.
pub async fn tcp_connect(
    network: Network<'_>,
    host: Option<&str>,
    port: u16,
) -> Result<(), String> {
    let dialled = match host::parse(host) {
        Ok(host) => dial::dial(network, &host, port).await,
        Err(error) => Err(error),
    };
    match dialled {
        Ok(_) => Ok(()),
        Err(error) => {
            let to = error.address().map_or_else(
                || url::authority(host.unwrap_or_default(), port),
                |address| address.to_string(),
            );
            Err(format!("connect to {to}: {error}"))
        }
    }
}
