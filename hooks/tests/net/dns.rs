//! A name server in a pod's network namespace.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::pod_network::PodNetwork;

/// What it says of a name; a name has the family that is asked for, or nothing.
#[derive(Clone)]
pub enum Reply {
    Addresses(Vec<IpAddr>),
    /// As `Addresses`, by way of another name, and over TCP alone.
    TooLong(Vec<IpAddr>),
    NoSuchName,
    Failure,
    Silence,
    /// So many messages that answer nothing, and then nothing.
    Noise(usize),
    /// A TCP answer that says it is longer than it is, after a truncated one.
    Cut,
}

/// The names it was asked for, in order, once per family.
pub struct Dns {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Dns {
    /// Listens on port 53 of this address, UDP and TCP, as long as the test runs.
    pub fn serve(
        pod: &PodNetwork,
        ip: &str,
        reply: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Dns {
        let (udp, tcp) = pod.inside(|| {
            let udp = UdpSocket::bind((ip, 53)).expect("bind");
            (udp, TcpListener::bind((ip, 53)).expect("bind"))
        });
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, reply) = (asked.clone(), Arc::new(reply));
        let by_udp = reply.clone();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                let query = &buffer[..length];
                seen.lock().expect("names").push(name_of(query));
                for message in datagrams(query, &by_udp(&name_of(query))) {
                    let _ = udp.send_to(&message, from);
                }
            }
        });
        thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let mut length = [0; 2];
                let _ = stream.read_exact(&mut length);
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                let _ = stream.read_exact(&mut query);
                let reply = reply(&name_of(&query));
                let (message, length) = match &reply {
                    Reply::TooLong(addresses) => (answer(&query, 0x8180, addresses), None),
                    _ => (answer(&query, 0x8180, &[]), Some(u16::MAX)),
                };
                let whole = u16::try_from(message.len()).expect("a message");
                let _ = stream.write_all(&length.unwrap_or(whole).to_be_bytes());
                let _ = stream.write_all(&message);
            }
        });
        Dns { asked }
    }

    /// The names it was asked for; each once.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().expect("names").clone();
        asked.dedup();
        asked
    }
}

fn name_of(query: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut rest = &query[12..];
    while let Some((&length, after)) = rest.split_first()
        && length > 0
    {
        let (label, after) = after.split_at(usize::from(length));
        labels.push(String::from_utf8_lossy(label).into_owned());
        rest = after;
    }
    labels.join(".")
}

fn datagrams(query: &[u8], reply: &Reply) -> Vec<Vec<u8>> {
    match reply {
        Reply::Addresses(addresses) => vec![answer(query, 0x8180, addresses)],
        Reply::TooLong(_) | Reply::Cut => vec![answer(query, 0x8380, &[])],
        Reply::NoSuchName => vec![answer(query, 0x8183, &[])],
        Reply::Failure => vec![answer(query, 0x8182, &[])],
        Reply::Silence => Vec::new(),
        Reply::Noise(count) => (0..*count).map(|i| noise(query, i)).collect(),
    }
}

/// What is nearly an answer.
fn noise(query: &[u8], number: usize) -> Vec<u8> {
    let mut message = answer(query, 0x8180, &["6.6.6.6".parse().expect("an address")]);
    match number % 5 {
        0 => message[0] ^= 0xff,
        1 => message[13] ^= 0x01,
        2 => message.truncate(number % message.len()),
        3 => message = vec![0xff; 4000],
        _ => message = query.to_vec(),
    }
    message
}

/// The question, then a CNAME and the addresses of the family that was asked for.
fn answer(query: &[u8], flags: u16, addresses: &[IpAddr]) -> Vec<u8> {
    let mut message = query.to_vec();
    message[2..4].copy_from_slice(&flags.to_be_bytes());
    let kind = query[query.len() - 3];
    let mut count = 0u16;
    let mut record = |kind: u8, data: &[u8]| {
        message.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0]);
        message.push(u8::try_from(data.len()).expect("short"));
        message.extend(data);
        count += 1;
    };
    if !addresses.is_empty() {
        record(5, b"\x05alias\xc0\x0c");
    }
    for address in addresses {
        match address {
            IpAddr::V4(ip) if kind == 1 => record(1, &ip.octets()),
            IpAddr::V6(ip) if kind == 28 => record(28, &ip.octets()),
            _ => {}
        }
    }
    message[6..8].copy_from_slice(&count.to_be_bytes());
    message
}
