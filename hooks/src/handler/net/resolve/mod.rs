//! What a name means to the container: its /etc/hosts, then the name servers of its /etc/resolv.conf, asked from
//! its network namespace. As getaddrinfo does it in the container: what the node knows stays
//! its own.
//!
//! The messages are a page of code of our own: the shim asks one kind of question and reads one kind of record,
//! and a resolver's crate would be larger than its other handlers together.

mod ask;
mod conf;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hosts;
mod message;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use super::Network;
use super::error::NetError;
use super::namespace;
use ask::{Asking, Fault, Resolved, Server};
use conf::Conf;

/// The most that is read of the files.
const MAX_HOSTS: u64 = 1 << 20;
const MAX_CONF: u64 = 64 << 10;

const DNS: u16 = 53;

/// The addresses of a name, IPv4 first; at least one.
///
/// Takes as long as resolv.conf says at most, for each name of its search list; to give up is to drop the future.
pub(super) async fn lookup(network: Network<'_>, name: &str) -> Result<Vec<IpAddr>, NetError> {
    let failed = |reason: String| NetError::Lookup {
        name: name.to_owned(),
        reason,
    };
    let root = network
        .root
        .try_clone_to_owned()
        .map_err(namespace::failed(
            "duplicate the descriptor of the container's root",
        ))?;
    let wanted = name.to_owned();
    let known = namespace::inside(network.netns, move || known(&root, &wanted)).await?;
    let (conf, servers) = match known {
        Known::Addresses(addresses) => return Ok(in_order(addresses)),
        Known::Servers(conf, servers) => (conf, servers),
    };
    let servers = servers
        .into_iter()
        .map(Server::new)
        .collect::<io::Result<Vec<_>>>()
        .map_err(namespace::failed("ask the container's name servers"))?;
    let asking = Asking::new(network, &conf, &servers);
    let mut bad = None;
    for candidate in conf.candidates(name) {
        match asking.addresses_of(&candidate).await {
            Ok(Resolved::Addresses(addresses)) => return Ok(in_order(addresses)),
            Ok(Resolved::Nothing) => {}
            // Others of the search list may do (resolver(3) of glibc).
            Err((server, fault @ Fault::Misbehaving)) => bad = Some((server, fault)),
            Err((server, fault)) => return Err(failed(format!(" on {server}: {fault}"))),
        }
    }
    Err(failed(match (bad, servers.first()) {
        (Some((server, fault)), _) => format!(" on {server}: {fault}"),
        (None, Some(first)) => format!(" on {}: no such host", first.address),
        (None, None) => ": no such host".to_owned(),
    }))
}

enum Known {
    Addresses(Vec<IpAddr>),
    Servers(Conf, Vec<Opened>),
}

/// A name server, and a socket that is connected to it, so that nobody else's answers come in.
struct Opened {
    address: SocketAddr,
    socket: io::Result<UdpSocket>,
}

/// The part that is done in the namespace's thread.
fn known(root: &OwnedFd, name: &str) -> Result<Known, NetError> {
    let read = |path, limit| {
        files::read(root.as_fd(), path, limit).map_err(namespace::failed(
            "read the container's /etc/hosts and /etc/resolv.conf",
        ))
    };
    let addresses = hosts::lookup(&read("etc/hosts", MAX_HOSTS)?, name);
    if !addresses.is_empty() {
        return Ok(Known::Addresses(addresses));
    }
    let conf = Conf::parse(&read("etc/resolv.conf", MAX_CONF)?);
    let open = |(ip, zone): &(IpAddr, Option<String>)| {
        let address = namespace::given(*ip, zone.as_deref(), DNS)?;
        Ok(Opened {
            address,
            socket: connected(address),
        })
    };
    let servers = conf.servers.iter().map(open).collect::<Result<_, _>>()?;
    Ok(Known::Servers(conf, servers))
}

fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// As the pod's own addresses are tried.
fn in_order(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut first, last): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    first.extend(last);
    first
}
