//! Connections: one address after the other.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::Network;
use super::error::{Attempt, NetError};
use super::host::Host;
use super::namespace;
use super::resolve;

/// A connection and the address that took it.
pub(super) struct Dialled {
    pub(super) stream: TcpStream,
    pub(super) address: SocketAddr,
}

/// How long one of several addresses of a name is tried: its records may be older than its servers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects to the first address of `host` that takes it.
pub(super) async fn dial(
    network: Network<'_>,
    host: &Host,
    port: u16,
) -> Result<Dialled, NetError> {
    let named = matches!(host, Host::Name(_));
    let candidates = match host {
        Host::Name(name) => {
            let found = resolve::lookup(network, name).await?;
            let addresses = found.into_iter().map(|ip| SocketAddr::new(ip, port));
            namespace::sockets(network.netns, addresses.collect()).await?
        }
        _ => namespace::open(network.netns, host, port).await?,
    };
    let mut attempts = Vec::new();
    let mut left = candidates.len();
    for candidate in candidates {
        left = left.saturating_sub(1);
        let address = candidate.address;
        let connected = match candidate.socket {
            Ok(socket) if named && left > 0 => timeout(PATIENCE, connect(socket, address))
                .await
                .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())),
            Ok(socket) => connect(socket, address).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => return Ok(Dialled { stream, address }),
            Err(error) => {
                let last = !named && !nobody_there(&error);
                attempts.push(Attempt { address, error });
                if last {
                    break;
                }
            }
        }
    }
    Err(NetError::Connect { attempts, named })
}

async fn connect(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = socket.connect(address).await?;
    // A connection to a local port without a listener can connect to itself, when the kernel happens to
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
