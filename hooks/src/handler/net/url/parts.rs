//! A URL taken apart, where Go takes it apart.

use std::net::Ipv6Addr;

use super::path::is_escaped;
use crate::handler::net::host::unbracketed;

/// `scheme:rest`, RFC 3986, 3.1.
pub(super) fn split_scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(letters);
    is_scheme.then_some((scheme, rest))
}

/// Host without brackets, and the port as it is written.
pub(super) fn split_port(authority: &str) -> (&str, &str) {
    // A colon before the bracket is one of the address.
    let split = authority.rsplit_once(':');
    let (host, port) = split
        .filter(|(_, port)| !port.contains(']'))
        .unwrap_or((authority, ""));
    (unbracketed(host), port)
}

/// Path, and query with its `?`.
pub(super) fn split_query(target: &str) -> (&str, &str) {
    target.split_at(target.find('?').unwrap_or(target.len()))
}

/// What follows the two slashes before a host; three begin a path.
pub(super) fn after_slashes(reference: &str) -> Option<&str> {
    let rest = reference.strip_prefix("//")?;
    (!rest.starts_with('/')).then_some(rest)
}

/// Whether Go takes it for user, host and port.
pub(super) fn is_authority(scheme: Option<&str>, authority: &str) -> bool {
    const USER: &[u8] = b"-._:~!$&'()*+,;=%@";
    const HOST: &[u8] = b"-._~!$&'()*+,;=]<>\"%:";
    let all = |text: &str, others: &[u8]| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
        text.bytes().all(|byte| fits(byte) || !byte.is_ascii())
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (address, name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.rsplit_once(']') {
            Some((address, port)) => (address, "", port),
            None => return false,
        },
        None => {
            let (name, port) = host.split_at(host.rfind(':').unwrap_or(host.len()));
            ("::", name, port)
        }
    };
    let digits = port.strip_prefix(':');
    let is_port = digits.is_none_or(|all| all.bytes().all(|byte| byte.is_ascii_digit()));
    // Only what is no ASCII may be escaped.
    let is_name = |name: &str| {
        let mut escapes = name.split('%').skip(1);
        escapes.all(|escape| escape.starts_with(|digit: char| digit > '7')) && is_escaped(name)
    };
    let (ip, _zone) = address.split_once("%25").unwrap_or((address, ""));
    // Go is strict about colons where the scheme is HTTP's own.
    let http = scheme.is_some_and(|scheme| {
        scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
    });
    !(http && name.contains(':'))
        && (user.is_ascii() && all(user, USER) && is_escaped(user))
        && (all(name, HOST) && is_name(name))
        && ip.parse::<Ipv6Addr>().is_ok()
        && (port.is_empty() || digits.is_some())
        && is_port
}
