//! The URLs of a request: what a request line may hold, and where a redirect leads. Pure.

use std::fmt;
use std::net::IpAddr;

use super::error::NetError;
use super::host::{same, unbracketed};
use crate::lifecycle::{Scheme, text};

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
        let reference = location.split('#').next().unwrap_or_default();
        let (scheme, rest) = match split_scheme(reference) {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, reference),
        };
        let Some(rest) = rest.strip_prefix("//") else {
            if scheme.is_some() {
                // `mailto:…` has no host, so it is not ours.
                return Ok(Redirect::Elsewhere);
            }
            let url = Url {
                target: target(&self.resolve(rest)),
                ..self.clone()
            };
            return Ok(Redirect::Same { url, named: false });
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (userinfo, path) = rest.split_at(end);
        let authority = userinfo.rsplit('@').next().unwrap_or_default();
        let (host, port) = split_port(authority).ok_or_else(bad)?;
        if !same(host, &self.host) {
            return Ok(Redirect::Elsewhere);
        }
        let scheme = match scheme.map(str::to_ascii_lowercase).as_deref() {
            None => self.scheme,
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(_) => return Err(bad()),
        };
        let port = port.unwrap_or(match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        });
        let path = if path.starts_with('/') {
            without_dots(path)
        } else {
            format!("/{path}")
        };
        let url = Url {
            scheme,
            host: self.host.clone(),
            port,
            authority: authority.to_owned(),
            target: target(&path),
        };
        Ok(Redirect::Same { url, named: true })
    }

    /// A reference without scheme and host.
    fn resolve(&self, reference: &str) -> String {
        let (path, _) = split_query(&self.target);
        if reference.is_empty() {
            self.target.clone()
        } else if reference.starts_with('/') {
            without_dots(reference)
        } else if reference.starts_with('?') {
            format!("{path}{reference}")
        } else {
            let folder = path.rfind('/').map_or("/", |slash| &path[..=slash]);
            without_dots(&format!("{folder}{reference}"))
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

/// `scheme:rest`, RFC 3986, 3.1.
fn split_scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(letters);
    is_scheme.then_some((scheme, rest))
}

/// Host without brackets, and port; none where the port is no port.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_address = authority.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match authority[after_address..].rfind(':') {
        Some(colon) => {
            let colon = after_address + colon;
            (&authority[..colon], &authority[colon + 1..])
        }
        None => (authority, ""),
    };
    let port = match port {
        "" => None,
        port => Some(port.parse().ok().filter(|port| *port > 0)?),
    };
    Some((unbracketed(host), port))
}

/// Path, and query with its `?`.
fn split_query(target: &str) -> (&str, &str) {
    target.split_at(target.find('?').unwrap_or(target.len()))
}

/// Path and query without dot segments: RFC 3986, 5.2.4.
fn without_dots(target: &str) -> String {
    let (path, query) = split_query(target);
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

/// Path and query for a request line. As the kubelet: what is no URL, for a `%` without two hex
/// digits, is a path altogether; elsewhere the fragment is cut, and what is escaped stays so.
fn target(given: &str) -> String {
    let slash = if given.starts_with('/') { "" } else { "/" };
    let given = format!("{slash}{given}");
    let whole = given.split('#').next().unwrap_or_default();
    let (path, query) = split_query(whole);
    let mut out = String::with_capacity(whole.len());
    if is_escaped(path) {
        escape(&mut out, path, b"%/:@!$&'()*+,;=-._~");
        // Servers see the query as it was written, but for what would end or break the line.
        let kept = b"?%/:@!$&'()*+,;=-._~[]{}|\\^`";
        escape(&mut out, query, kept);
    } else {
        escape(&mut out, &given, b"/:@!$&'()*+,;=-._~");
    }
    out
}

/// Whether every `%` begins an escape.
fn is_escaped(path: &str) -> bool {
    let bytes = path.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    (0..bytes.len()).all(|at| bytes[at] != b'%' || (hex(at + 1) && hex(at + 2)))
}

/// Percent-encodes all but letters, digits and `kept`.
fn escape(out: &mut String, text: &str, kept: &[u8]) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests;
