//! Hosts as requests have them. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::NetError;
use crate::lifecycle::text;

pub(super) use crate::lifecycle::host::{Host, unbracketed};

/// Reads a handler's `host`, or a URL's.
pub(super) fn parse(host: Option<&str>) -> Result<Host, NetError> {
    let given = host.unwrap_or_default();
    Host::parse(given).ok_or_else(|| NetError::Host {
        host: text::quote(given, 64),
    })
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

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        assert!(same("fd00:0:0::5", "FD00::5"));
        assert!(same("LOCALHOST", "localhost"));
        assert!(!same("localhost", "127.0.0.1"));
        assert!(!same("", "10.0.0.5"));
    }
}
