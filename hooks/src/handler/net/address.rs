//! A network namespace's own addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// The first global IPv4 and the first global IPv6 address of the calling thread's namespace, in
/// this order. `eth0` comes before other interfaces, since CRI names a pod's own network so,
/// whatever other networks it has joined and whichever index their interfaces got.
pub(super) fn own() -> io::Result<Vec<IpAddr>> {
    let mut own: Vec<(bool, IpAddr)> = Vec::new();
    for interface in getifaddrs()? {
        let flags = interface.flags;
        if flags.contains(InterfaceFlags::IFF_LOOPBACK) || !flags.contains(InterfaceFlags::IFF_UP) {
            continue;
        }
        let Some(address) = interface.address else {
            continue;
        };
        let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) => IpAddr::V6(v6.ip()),
            _ => continue,
        };
        if is_global(ip) {
            own.push((interface.interface_name == "eth0", ip));
        }
    }
    let first = |v4: bool| {
        let mut family = own.iter().filter(|(_, ip)| ip.is_ipv4() == v4);
        let first = family.clone().next();
        family.find(|(eth0, _)| *eth0).or(first).map(|(_, ip)| *ip)
    };
    Ok([first(true), first(false)].into_iter().flatten().collect())
}

/// Valid beyond the link, private networks included: where pods live.
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_global_v4(ip),
        IpAddr::V6(ip) => is_global_v6(ip),
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified() && !ip.is_multicast()
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified() && !ip.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_networks_are_global_and_link_local_is_not() {
        for ip in [
            "10.0.0.5",
            "192.168.1.1",
            "100.64.0.1",
            "fd00::5",
            "2001:db8::1",
        ] {
            assert!(is_global(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "127.0.0.2",
            "169.254.1.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_global(ip.parse().unwrap()), "{ip}");
        }
    }
}
