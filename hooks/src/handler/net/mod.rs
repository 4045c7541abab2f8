//! `httpGet` and `tcpSocket`: requests from the container's network namespace.
//!
//! Every socket is made inside that namespace, so a hook reaches what the container reaches and
//! nothing else: no node loopback, no node network. For the same reason a host is an IP address or
//! `localhost`: the shim could look up other names only as the node sees them, which would leak the
//! node's view and its DNS to whoever writes a pod, and the container's own resolv.conf and
//! /etc/hosts are files the container controls. No host means the pod itself, as for the kubelet.
//!
//! Nothing outlives a request: its memory, its TLS state and its sockets go with the future. A slow
//! or silent server is waited for; to give up is to drop the future, which closes the socket.

mod address;
mod dial;
mod error;
mod exchange;
mod follow;
mod headers;
mod host;
mod namespace;
mod statuses;
mod stream;
mod tls;
mod url;

use std::os::fd::BorrowedFd;

use crate::lifecycle::{Header, Scheme};

use self::host::Host;

pub use self::statuses::Statuses;

/// What an `httpGet` handler asks for.
#[derive(Debug, Clone, Copy)]
pub struct HttpGet<'a> {
    /// Path and query as the lifecycle has them.
    pub path: &'a str,
    /// The port.
    pub port: u16,
    /// An IP address or `localhost`; none for the pod itself.
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
    /// Success is 200–399. The error is a short message for users, with the URL.
    pub result: Result<(), String>,
    /// The first 4 KiB of the response's body.
    pub body: Vec<u8>,
}

/// Sends a GET from the namespace `netns` (an open `/proc/<pid>/ns/net`) and waits for the end of
/// the response, at most 10 KiB of it.
///
/// Without a host it goes to the namespace's first global IPv4 address, then its first global IPv6
/// address, then 127.0.0.1, then ::1: to the next where one is refused or unreachable. Redirects
/// to the same host are followed, up to 10; one to another host is not, and is a success. A server
/// that answers an HTTPS request in plain HTTP is asked again in plain HTTP without the
/// `Authorization` header, as the kubelet does.
///
/// Waits as long as the server lets it: the caller sets the deadline.
pub async fn http_get(netns: BorrowedFd<'_>, request: &HttpGet<'_>) -> HttpOutcome {
    http_get_judged(netns, request, Statuses::default()).await
}

/// The same with another rule of what is a success.
pub async fn http_get_judged(
    netns: BorrowedFd<'_>,
    request: &HttpGet<'_>,
    success: Statuses,
) -> HttpOutcome {
    match follow::get(netns, request).await {
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

/// Connects from the namespace `netns` and closes the connection again. Host and addresses as for
/// [`http_get`]; the error is a short message for users.
///
/// Waits as long as the peer lets it: the caller sets the deadline.
pub async fn tcp_connect(
    netns: BorrowedFd<'_>,
    host: Option<&str>,
    port: u16,
) -> Result<(), String> {
    let dialled = match Host::parse(host) {
        Ok(host) => dial::dial(netns, &host, port).await,
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
