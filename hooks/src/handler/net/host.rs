//! The host of a request: the pod itself, `localhost`, an IP address. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lifecycle::text;

use super::error::NetError;

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// The namespace's own addresses, then loopback.
    Pod,
    /// Loopback, IPv4 first. Never looked up: RFC 6761, 6.3.
    Localhost,
    /// This address.
    Address {
        ip: IpAddr,
        /// The interface of a link-local IPv6 address, by name or number.
        zone: Option<String>,
    },
}

impl Host {
    /// Reads a handler's `host`; IPv6 with or without brackets.
    pub(super) fn parse(host: Option<&str>) -> Result<Host, NetError> {
        let Some(given) = host.filter(|host| !host.is_empty()) else {
            return Ok(Host::Pod);
        };
        let host = unbracketed(given);
        if host.eq_ignore_ascii_case("localhost") || host.eq_ignore_ascii_case("localhost.") {
            return Ok(Host::Localhost);
        }
        let (ip, zone) = match host.split_once('%') {
            Some((ip, zone)) => (ip, Some(zone)),
            None => (host, None),
        };
        match (ip.parse::<IpAddr>(), zone) {
            (Ok(ip), None) => Ok(Host::Address { ip, zone: None }),
            (Ok(ip @ IpAddr::V6(_)), Some(zone)) if !zone.is_empty() => Ok(Host::Address {
                ip,
                zone: Some(zone.to_owned()),
            }),
            _ => Err(NetError::Host {
                host: text::quote(given, 64),
            }),
        }
    }
}

/// The host without the brackets of an IPv6 address.
pub(super) fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// Whether two hosts of URLs are the same one: the same text, or the same address.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
        || matches!(
            (one.parse::<IpAddr>(), other.parse::<IpAddr>()),
            (Ok(one), Ok(other)) if one == other
        )
}

/// Loopback in the order it is tried.
pub(super) const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, zone: Option<&str>) -> Host {
        Host::Address {
            ip: text.parse().unwrap(),
            zone: zone.map(str::to_owned),
        }
    }

    #[test]
    fn addresses_and_localhost_are_hosts() {
        let parse = |host| Host::parse(Some(host)).unwrap();
        assert_eq!(Host::parse(None).unwrap(), Host::Pod);
        assert_eq!(parse(""), Host::Pod);
        assert_eq!(parse("LocalHost"), Host::Localhost);
        assert_eq!(parse("localhost."), Host::Localhost);
        assert_eq!(parse("10.0.0.5"), address("10.0.0.5", None));
        assert_eq!(parse("::1"), address("::1", None));
        assert_eq!(parse("[fd00::5]"), address("fd00::5", None));
        assert_eq!(parse("fe80::1%eth0"), address("fe80::1", Some("eth0")));
    }

    #[test]
    fn a_name_is_never_looked_up() {
        for host in [
            "db",
            "kubernetes.default.svc",
            "10.0.0",
            "1.2.3.4%eth0",
            "0x7f.1",
        ] {
            let error = Host::parse(Some(host)).unwrap_err().to_string();
            let start = format!("host \"{host}\" must be an IP address or localhost: ");
            assert!(error.starts_with(&start), "{error}");
        }
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        assert!(same("fd00:0:0::5", "FD00::5"));
        assert!(same("LOCALHOST", "localhost"));
        assert!(!same("localhost", "127.0.0.1"));
        assert!(!same("", "10.0.0.5"));
    }
}
