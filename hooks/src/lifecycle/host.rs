//! The host of a request: the pod itself, `localhost`, an address, a name. Pure.

use std::net::IpAddr;

/// The longest name, without the dot at its end (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;
/// The longest part of one.
const MAX_LABEL: usize = 63;

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// The namespace's own addresses, then loopback.
    Pod,
    /// Loopback, IPv4 first. Never looked up: RFC 6761, 6.3.
    Localhost,
    Address {
        ip: IpAddr,
        /// The interface of a link-local IPv6 address, by name or number.
        zone: Option<String>,
    },
    /// What the container's own files and name servers make of it.
    Name(String),
}

impl Host {
    /// Reads a handler's `host`; IPv6 with or without brackets. None for what can never be one.
    pub(crate) fn parse(given: &str) -> Option<Host> {
        let host = unbracketed(given);
        if given.is_empty() {
            return Some(Host::Pod);
        }
        if host.eq_ignore_ascii_case("localhost") || host.eq_ignore_ascii_case("localhost.") {
            return Some(Host::Localhost);
        }
        let (ip, zone) = match host.split_once('%') {
            Some((ip, zone)) => (ip, Some(zone)),
            None => (host, None),
        };
        match (ip.parse::<IpAddr>(), zone) {
            (Ok(ip), None) => Some(Host::Address { ip, zone: None }),
            (Ok(ip @ IpAddr::V6(_)), Some(zone)) if is_zone(zone) => Some(Host::Address {
                ip,
                zone: Some(zone.to_owned()),
            }),
            (Err(_), None) if is_name(host) => Some(Host::Name(host.to_owned())),
            _ => None,
        }
    }
}

/// The host without the brackets of an IPv6 address.
pub(crate) fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

fn is_zone(zone: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    !zone.is_empty() && zone.len() <= MAX_LABEL && zone.bytes().all(allowed)
}

/// As Go's resolver (`isDomainName`): letters, digits, `_`, `-` within a part. A last part of digits alone is
/// a part of an address, and of no name that is in use.
fn is_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= MAX_NAME
        && name.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, zone: Option<&str>) -> Option<Host> {
        Some(Host::Address {
            ip: text.parse().unwrap(),
            zone: zone.map(str::to_owned),
        })
    }

    #[test]
    fn addresses_localhost_and_names_are_hosts() {
        assert_eq!(Host::parse(""), Some(Host::Pod));
        assert_eq!(Host::parse("LocalHost"), Some(Host::Localhost));
        assert_eq!(Host::parse("localhost."), Some(Host::Localhost));
        assert_eq!(Host::parse("10.0.0.5"), address("10.0.0.5", None));
        assert_eq!(Host::parse("::1"), address("::1", None));
        assert_eq!(Host::parse("[fd00::5]"), address("fd00::5", None));
        assert_eq!(
            Host::parse("fe80::1%eth0"),
            address("fe80::1", Some("eth0"))
        );
        let longest = format!(
            "{}.a",
            ["a".repeat(63).as_str(); 3].join(".") + "." + &"a".repeat(59)
        );
        for name in [
            "db",
            "kubernetes.default.svc",
            "a_b.c-d.",
            "1.2.3.4a",
            "x.local",
            &longest,
        ] {
            assert_eq!(
                Host::parse(name),
                Some(Host::Name(name.to_owned())),
                "{name}"
            );
        }
    }

    #[test]
    fn what_can_never_be_a_host_is_none() {
        let long = format!("{}.com", "a".repeat(64));
        let too_long = ["a"; 128].join(".");
        for host in [
            "10.0.0",
            "1.2.3.4.5",
            "0x7f.1",
            "1.2.3.4%eth0",
            "fe80::1%",
            "[db",
            "db]",
            "a..b",
            ".a",
            ".",
            "-a",
            "a-.b",
            "a b",
            "a/b",
            "db:80",
            "ä",
            "[]",
            &long,
            &too_long,
        ] {
            assert_eq!(Host::parse(host), None, "{host}");
        }
    }
}
