//! Connections: one address after the other.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use tokio::net::{TcpSocket, TcpStream};

use super::error::{Attempt, NetError};
use super::host::Host;
use super::namespace;

/// A connection and the address that took it.
pub(super) struct Dialled {
    pub(super) stream: TcpStream,
    pub(super) address: SocketAddr,
}

/// Connects to the first address of `host` that takes it.
pub(super) async fn dial(
    netns: BorrowedFd<'_>,
    host: &Host,
    port: u16,
) -> Result<Dialled, NetError> {
    let mut attempts = Vec::new();
    for candidate in namespace::open(netns, host, port).await? {
        let address = candidate.address;
        let connected = match candidate.socket {
            Ok(socket) => connect(socket, address).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => return Ok(Dialled { stream, address }),
            Err(error) => {
                let last = !nobody_there(&error);
                attempts.push(Attempt { address, error });
                if last {
                    break;
                }
            }
        }
    }
    Err(NetError::Connect(attempts))
}

async fn connect(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = socket.connect(address).await?;
    // A connection to a local port nobody listens on can meet itself, when the kernel happens to
    // choose that port as its source (simultaneous open, RFC 9293, 3.5).
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Whether another of the pod's addresses may do better: refused, or an address or family that the
/// namespace cannot reach or does not have.
fn nobody_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::AddrNotAvailable
    ) || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}
