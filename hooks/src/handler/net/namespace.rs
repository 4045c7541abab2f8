//! Sockets made inside a network namespace.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::{io, thread};

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use super::address;
use super::error::NetError;
use super::host::{Host, LOOPBACK};

/// Enough for getifaddrs, and little for the C library to keep once the thread has ended.
const STACK: usize = 128 * 1024;

/// An address to try, with the socket for it.
pub(super) struct Candidate {
    pub(super) address: SocketAddr,
    /// An error where the namespace has no such address family.
    pub(super) socket: io::Result<TcpSocket>,
}

/// The addresses of `host` in the namespace, in the order to try them. A name's are for the resolver.
pub(super) async fn open(
    netns: BorrowedFd<'_>,
    host: &Host,
    port: u16,
) -> Result<Vec<Candidate>, NetError> {
    let host = host.clone();
    inside(netns, move || {
        let addresses = match &host {
            Host::Pod => {
                let own =
                    address::own().map_err(failed("list the network namespace's addresses"))?;
                let all = own.into_iter().chain(LOOPBACK);
                all.map(|ip| SocketAddr::new(ip, port)).collect()
            }
            Host::Localhost => LOOPBACK.map(|ip| SocketAddr::new(ip, port)).to_vec(),
            Host::Address { ip, zone } => vec![given(*ip, zone.as_deref(), port)?],
            Host::Name(_) => Vec::new(),
        };
        Ok(candidates(addresses))
    })
    .await
}

/// Sockets for these addresses.
pub(super) async fn sockets(
    netns: BorrowedFd<'_>,
    addresses: Vec<SocketAddr>,
) -> Result<Vec<Candidate>, NetError> {
    inside(netns, move || Ok(candidates(addresses))).await
}

fn candidates(addresses: Vec<SocketAddr>) -> Vec<Candidate> {
    let candidate = |address| Candidate {
        address,
        socket: match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        },
    };
    addresses.into_iter().map(candidate).collect()
}

/// Does something in the namespace.
///
/// A socket belongs for good to the namespace its maker is in (socket(7)), so a thread of its own
/// enters the namespace, makes the sockets and ends. Whatever fails there, no thread that runs
/// anything else was ever in the pod. A caller can give up waiting for it at any time.
pub(super) async fn inside<T: Send + 'static>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, NetError> + Send + 'static,
) -> Result<T, NetError> {
    let netns = netns
        .try_clone_to_owned()
        .map_err(failed("duplicate the network namespace's descriptor"))?;
    let (answer, answered) = oneshot::channel();
    thread::Builder::new()
        .name("pod-network".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let made = enter(netns).and_then(|()| work());
            // The one who asked may have given up.
            let _ = answer.send(made);
        })
        .map_err(failed("start a thread for the network namespace"))?;
    answered.await.unwrap_or_else(|_| {
        let source = io::Error::other("the thread ended early");
        Err(failed("make sockets in the network namespace")(source))
    })
}

/// Takes the descriptor, so that it is closed before the answer is out.
fn enter(netns: OwnedFd) -> Result<(), NetError> {
    // A shim without CAP_SYS_ADMIN can still serve its own namespace.
    if !is_ours(netns.as_fd()).map_err(failed("compare network namespaces"))? {
        setns(&netns, CloneFlags::CLONE_NEWNET)
            .map_err(io::Error::from)
            .map_err(failed("enter the network namespace"))?;
    }
    Ok(())
}

/// Makes an error of a failed operation; for `map_err`.
pub(super) fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> NetError {
    move |source| NetError::Namespace { operation, source }
}

/// An address of the user's; a zone is an interface of the pod.
pub(super) fn given(ip: IpAddr, zone: Option<&str>, port: u16) -> Result<SocketAddr, NetError> {
    match (ip, zone) {
        (IpAddr::V6(ip), Some(zone)) => {
            let index = match zone.parse() {
                Ok(index) => index,
                Err(_) => if_nametoindex(zone).map_err(|_| NetError::Zone {
                    zone: zone.to_owned(),
                })?,
            };
            Ok(SocketAddrV6::new(ip, port, 0, index).into())
        }
        _ => Ok(SocketAddr::new(ip, port)),
    }
}

/// Whether the calling thread is in the namespace already (host network).
fn is_ours(netns: BorrowedFd<'_>) -> io::Result<bool> {
    let ours = fstat(File::open("/proc/thread-self/ns/net")?)?;
    let theirs = fstat(netns)?;
    Ok((ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino))
}
