//! resolv.conf(5). Pure. Limits are glibc's.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::lifecycle::host::Host;

const MAX_SERVERS: usize = 3;
/// Kubernetes allows as many.
const MAX_SEARCH: usize = 32;
const MAX_DOTS: u32 = 15;
const MAX_TIMEOUT: u32 = 30;
const MAX_ATTEMPTS: u32 = 5;

/// How names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conf {
    /// Addresses and the interfaces of link-local ones.
    pub(super) servers: Vec<(IpAddr, Option<String>)>,
    search: Vec<String>,
    /// A name with as many dots is tried as it is first.
    dots: u32,
    /// How long one server is waited for.
    pub(super) timeout: Duration,
    /// How often each server is asked.
    pub(super) attempts: u32,
    /// Never by UDP.
    pub(super) tcp: bool,
}

impl Conf {
    /// Reads the file. What it does not say, or cannot, is as in glibc.
    pub(super) fn parse(text: &str) -> Conf {
        let mut conf = Conf {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            tcp: false,
        };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if conf.servers.len() < MAX_SERVERS => {
                    if let Some(Host::Address { ip, zone }) = words.next().and_then(Host::parse) {
                        conf.servers.push((ip, zone));
                    }
                }
                // The last of them holds.
                Some("search") => conf.search = search(words),
                Some("domain") => conf.search = search(words.take(1)),
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push((Ipv4Addr::LOCALHOST.into(), None));
        }
        conf
    }

    fn option(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        match (name, value.parse::<u32>()) {
            ("ndots", Ok(dots)) => self.dots = dots.min(MAX_DOTS),
            ("timeout", Ok(seconds)) => {
                self.timeout = Duration::from_secs(seconds.clamp(1, MAX_TIMEOUT).into());
            }
            ("attempts", Ok(attempts)) => self.attempts = attempts.clamp(1, MAX_ATTEMPTS),
            ("use-vc" | "usevc", _) => self.tcp = true,
            _ => {}
        }
    }

    /// The full names to try, in order.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(full) = name.strip_suffix('.') {
            return vec![full.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let as_it_is = std::iter::once(name.to_owned());
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        if dots >= self.dots as usize {
            as_it_is.chain(searched).collect()
        } else {
            searched.chain(as_it_is).collect()
        }
    }
}

fn search<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    words
        .map(|domain| domain.strip_suffix('.').unwrap_or(domain).to_owned())
        // `.` is the name as it is.
        .filter(|domain| !domain.is_empty())
        .take(MAX_SEARCH)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_writes() {
        let conf = Conf::parse(
            "search shop.svc.cluster.local svc.cluster.local cluster.local\n\
             nameserver 10.96.0.10\noptions ndots:5 timeout:2 attempts:3\n",
        );
        assert_eq!(conf.servers, [("10.96.0.10".parse().unwrap(), None)]);
        assert_eq!(
            (conf.timeout.as_secs(), conf.attempts, conf.tcp),
            (2, 3, false)
        );
        assert_eq!(
            conf.candidates("db.shop"),
            [
                "db.shop.shop.svc.cluster.local",
                "db.shop.svc.cluster.local",
                "db.shop.cluster.local",
                "db.shop"
            ]
        );
        assert_eq!(conf.candidates("db.shop."), ["db.shop"]);
    }

    #[test]
    fn a_name_with_enough_dots_is_tried_as_it_is_first() {
        let conf = Conf::parse("domain one\nsearch example.org. .\n");
        assert_eq!(conf.candidates("a.b"), ["a.b", "a.b.example.org"]);
        assert_eq!(conf.candidates("a"), ["a.example.org", "a"]);
        let conf = Conf::parse("search example.org\noptions ndots:0");
        assert_eq!(conf.candidates("a"), ["a", "a.example.org"]);
    }

    #[test]
    fn nothing_said_is_glibcs_defaults() {
        for text in [
            "",
            "# nameserver 1.2.3.4\n;x\nnameserver\nnameserver db\noptions ndots:x timeout",
        ] {
            let conf = Conf::parse(text);
            assert_eq!(
                conf.servers,
                [("127.0.0.1".parse().unwrap(), None)],
                "{text}"
            );
            assert_eq!(
                (conf.dots, conf.timeout.as_secs(), conf.attempts),
                (1, 5, 2)
            );
        }
    }

    #[test]
    fn no_file_makes_a_lookup_endless() {
        let mut text =
            "options ndots:4000000000 timeout:4000000000 attempts:4000000000 use-vc\n".to_owned();
        text += &"nameserver fe80::1%eth0\n".repeat(100);
        text += &format!("search {}\n", "example.org ".repeat(1000));
        let conf = Conf::parse(&text);
        assert_eq!(conf.servers.len(), MAX_SERVERS);
        assert_eq!(conf.servers[0].1.as_deref(), Some("eth0"));
        assert_eq!(
            (conf.dots, conf.timeout.as_secs(), conf.attempts, conf.tcp),
            (15, 30, 5, true)
        );
        assert_eq!(conf.candidates("a").len(), MAX_SEARCH + 1);
        assert_eq!(Conf::parse("options timeout:0 attempts:0").attempts, 1);
    }
}
