//! The URLs of a request: what a request line may hold, and where a redirect leads. Pure.

mod parts;
mod path;

use std::fmt;
use std::net::IpAddr;

use super::error::NetError;
use super::host::{same, unbracketed};
use crate::lifecycle::{Scheme, text};
use parts::{after_slashes, is_authority, split_port, split_query, split_scheme};
use path::{has_control, is_escaped, joined, target, without_dots, written};

/// Enough of a URL to know it again.
const MAX_SHOWN: usize = 256;

/// Where one request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) scheme: Scheme,
    /// Without brackets; empty until the pod's address is known.
    pub(super) host: String,
    pub(super) port: u16,
    /// The `Host` header where the user gives none: with the port as far as it was written.
    pub(super) authority: String,
    /// Path and query, fit for a request line.
    pub(super) target: String,
}

/// Where a redirect leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// To another host: the kubelet does not go there.
    Elsewhere,
    /// To the same host, any port.
    Same {
        url: Url,
        /// Whether the location names the host: a `Host` header of the user's is for the others.
        named: bool,
    },
}

impl Url {
    /// The URL of a handler.
    pub(super) fn new(scheme: Scheme, host: Option<&str>, port: u16, path: &str) -> Url {
        let host = unbracketed(host.unwrap_or_default()).to_owned();
        Url {
            scheme,
            authority: authority(&host, port),
            host,
            port,
            target: target(path),
        }
    }

    /// Fills in the address a URL without a host turned out to have.
    pub(super) fn settle(&mut self, ip: IpAddr) {
        if self.host.is_empty() {
            self.host = ip.to_string();
            self.authority = authority(&self.host, self.port);
        }
    }

    /// Where the `Location` of this URL's response leads: RFC 3986, 5.2.2, without user info.
    pub(super) fn redirect(&self, location: &str) -> Result<Redirect, NetError> {
        let bad = || NetError::Location(text::neutral(&text::quote(location, MAX_SHOWN)));
        let (reference, fragment) = location.split_once('#').unwrap_or((location, ""));
        if has_control(location) || !is_escaped(fragment) {
            return Err(bad());
        }
        let (scheme, rest) = match split_scheme(reference) {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, reference),
        };
        if scheme.is_some() && !rest.starts_with('/') {
            // `mailto:…` has no host, so it is not ours.
            return Ok(Redirect::Elsewhere);
        }
        let (authority, rest) = match after_slashes(rest) {
            Some(rest) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
            None => ("", rest),
        };
        let (path, query) = split_query(rest);
        let first = path.split('/').next().unwrap_or_default();
        if !is_authority(scheme, authority) || (scheme.is_none() && first.contains(':')) {
            return Err(bad());
        }
        let path = written(path).ok_or_else(bad)?;
        if authority.is_empty() {
            if scheme.is_some() {
                return Ok(Redirect::Elsewhere);
            }
            let url = Url {
                target: self.resolve(&path, query),
                ..self.clone()
            };
            return Ok(Redirect::Same { url, named: false });
        }
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = split_port(authority);
        if !same(host, &self.host) {
            return Ok(Redirect::Elsewhere);
        }
        let scheme = match scheme.map(str::to_ascii_lowercase).as_deref() {
            None => self.scheme,
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(_) => return Err(bad()),
        };
        let port = match (port, scheme) {
            ("", Scheme::Http) => 80,
            ("", Scheme::Https) => 443,
            (port, _) => port.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?,
        };
        let url = Url {
            scheme,
            host: self.host.clone(),
            port,
            authority: authority.to_owned(),
            target: joined(without_dots(&path), query),
        };
        Ok(Redirect::Same { url, named: true })
    }

    /// A reference without scheme and host.
    fn resolve(&self, path: &str, query: &str) -> String {
        let (base, own_query) = split_query(&self.target);
        let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
        match path {
            "" if query.is_empty() => joined(without_dots(base), own_query),
            "" => joined(without_dots(base), query),
            path if path.starts_with('/') => joined(without_dots(path), query),
            path => joined(without_dots(&format!("{folder}/{path}")), query),
        }
    }
}

/// For messages: never longer than a line, nothing in it that could be taken for something else.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let rest = format!("{}{}", self.authority, self.target);
        let rest = text::neutral(&text::shorten(&rest, MAX_SHOWN));
        write!(f, "{scheme}://{rest}")
    }
}

/// `host:port` as Go's net.JoinHostPort writes it. A zone means something to the sender alone, so
/// it does not go out (RFC 6874, 4).
pub(super) fn authority(host: &str, port: u16) -> String {
    let host = host.split('%').next().unwrap_or_default();
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests;
