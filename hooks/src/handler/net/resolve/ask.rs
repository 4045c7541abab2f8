//! Asking name servers: UDP, TCP for what does not fit, and nothing without end.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::conf::Conf;
use super::message::{Answer, Code, Kind, Query};
use super::{Network, Opened};
use crate::handler::net::{error, namespace};

/// The largest datagram that is read; who sends more says that he has cut it.
const MAX_DATAGRAM: usize = 4096;
/// Datagrams that answer nothing, before a server is given up.
const MAX_STRAY: usize = 64;

/// A name server to ask.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    socket: io::Result<UdpSocket>,
}

impl Server {
    pub(super) fn new(opened: Opened) -> io::Result<Self> {
        let socket = match opened.socket {
            Ok(socket) => Ok(UdpSocket::from_std(socket)?),
            Err(e) => Err(e),
        };
        Ok(Self {
            address: opened.address,
            socket,
        })
    }
}

/// What is known of a full name.
pub(super) enum Resolved {
    Addresses(Vec<IpAddr>),
    /// There is no such name, or it has no address.
    Nothing,
}

/// Why a server has said nothing of use, in Go's words.
pub(super) enum Fault {
    Timeout,
    Misbehaving,
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Timeout => f.write_str("i/o timeout"),
            Fault::Misbehaving => f.write_str("server misbehaving"),
            Fault::Io(e) => f.write_str(&error::cause(e)),
        }
    }
}

/// The questions for one name, and the answers so far.
struct Round([(Query, Option<Answer>); 2]);

/// One lookup.
pub(super) struct Asking<'a> {
    network: Network<'a>,
    conf: &'a Conf,
    servers: &'a [Server],
}

impl<'a> Asking<'a> {
    pub(super) fn new(network: Network<'a>, conf: &'a Conf, servers: &'a [Server]) -> Self {
        Self {
            network,
            conf,
            servers,
        }
    }

    /// Asks one server after the other, all of them as often as the configuration says. The error is the last
    /// server's.
    pub(super) async fn addresses_of(&self, name: &str) -> Result<Resolved, (SocketAddr, Fault)> {
        let Some(mut round) = Round::new(name) else {
            return Ok(Resolved::Nothing);
        };
        let mut last = None;
        for _ in 0..self.conf.attempts {
            for server in self.servers {
                round.forget();
                let asked = timeout(self.conf.timeout, self.ask(server, &mut round)).await;
                let fault = match asked {
                    Ok(Ok(())) => None,
                    Ok(Err(e)) => Some(Fault::Io(e)),
                    Err(_) => Some(Fault::Timeout),
                };
                match round.verdict(fault) {
                    Ok(said) => return Ok(said),
                    Err(fault) => last = Some((server.address, fault)),
                }
            }
        }
        last.map_or(Ok(Resolved::Nothing), Err)
    }

    async fn ask(&self, server: &Server, round: &mut Round) -> io::Result<()> {
        if !self.conf.tcp {
            let socket = server.socket.as_ref().map_err(copy)?;
            round.by_udp(socket).await?;
        }
        for (query, answer) in &mut round.0 {
            if answer.as_ref().is_none_or(|answer| answer.truncated) {
                let whole = self.by_tcp(server.address, query).await;
                match (whole, &answer) {
                    (Ok(whole), _) => *answer = Some(whole),
                    // The part that came is better than nothing.
                    (Err(_), Some(part)) if !part.addresses.is_empty() => {}
                    (Err(e), _) => return Err(e),
                }
            }
        }
        Ok(())
    }

    async fn by_tcp(&self, server: SocketAddr, query: &Query) -> io::Result<Answer> {
        let sockets = namespace::sockets(self.network.netns, vec![server]).await;
        let candidate = sockets.map_err(io::Error::other)?.pop();
        let socket = candidate.ok_or(ErrorKind::NotFound)?.socket?;
        let mut stream = socket.connect(server).await?;
        let length = u16::try_from(query.bytes().len()).map_err(io::Error::other)?;
        let mut message = length.to_be_bytes().to_vec();
        message.extend(query.bytes());
        stream.write_all(&message).await?;
        let length = stream.read_u16().await.map_err(closed)?;
        message.resize(usize::from(length), 0);
        stream.read_exact(&mut message).await.map_err(closed)?;
        let answer = query.answer(&message);
        answer.ok_or_else(|| io::Error::other("its answer is to another question"))
    }
}

impl Round {
    /// None for a name that cannot be asked for.
    fn new(name: &str) -> Option<Self> {
        // Keyed by the system's random numbers: an attacker outside of the path cannot guess the id.
        let random = RandomState::new().build_hasher().finish().to_le_bytes();
        let first = u16::from_le_bytes([random[0], random[1]]);
        let second = u16::from_le_bytes([random[2], random[3]]);
        let a = Query::new(first, name, Kind::A)?;
        let aaaa = Query::new(second, name, Kind::Aaaa)?;
        Some(Self([(a, None), (aaaa, None)]))
    }

    fn forget(&mut self) {
        for (_, answer) in &mut self.0 {
            *answer = None;
        }
    }

    /// Both questions at once, as glibc.
    async fn by_udp(&mut self, socket: &UdpSocket) -> io::Result<()> {
        for (query, _) in &self.0 {
            socket.send(query.bytes()).await?;
        }
        let mut buffer = vec![0; MAX_DATAGRAM];
        let mut stray = 0usize;
        while self.0.iter().any(|(_, answer)| answer.is_none()) {
            let length = socket.recv(&mut buffer).await?;
            let message = buffer.get(..length).unwrap_or_default();
            let mut open = self.0.iter_mut().filter(|(_, answer)| answer.is_none());
            let taken = open.any(|(query, answer)| {
                *answer = query.answer(message);
                answer.is_some()
            });
            stray = stray.saturating_add(usize::from(!taken));
            if stray > MAX_STRAY {
                return Err(io::Error::other("it answers other questions"));
            }
        }
        Ok(())
    }

    /// What the answers come to; without one of use, the fault.
    fn verdict(&mut self, fault: Option<Fault>) -> Result<Resolved, Fault> {
        let answers = || self.0.iter().filter_map(|(_, answer)| answer.as_ref());
        let addresses: Vec<IpAddr> = answers().flat_map(|a| a.addresses.clone()).collect();
        if !addresses.is_empty() {
            return Ok(Resolved::Addresses(addresses));
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        if answers().any(|answer| answer.code == Code::Bad) {
            return Err(Fault::Misbehaving);
        }
        Ok(Resolved::Nothing)
    }
}

/// The end of a connection, in words.
fn closed(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => io::Error::other("it closed the connection early"),
        _ => error,
    }
}

/// The same error once more.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => error.kind().into(),
    }
}
