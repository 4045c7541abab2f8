//! The headers of a request, as the kubelet makes them (pkg/probe/http/request.go). Pure.

use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::error::NetError;
use crate::lifecycle::{Header, text};
use crate::trace;

/// Go's request writer leaves these to itself: a body's framing is not the user's to claim.
const NOT_THE_USERS: [&str; 4] = ["host", "content-length", "transfer-encoding", "trailer"];

/// All headers but `Host`: ours where the user has none, then the user's.
///
/// Those of the request's trace are ours too.
///
/// An empty first `User-Agent` or `Accept` takes ours away. `Connection: close`, since each request
/// has its own connection.
pub(super) fn build(given: &[Header]) -> Result<HeaderMap, NetError> {
    let mut headers = HeaderMap::new();
    let agent = concat!("podhook/", env!("CARGO_PKG_VERSION"));
    for (name, ours) in [(USER_AGENT, agent), (ACCEPT, "*/*"), (CONNECTION, "close")] {
        if first(given, name.as_str()).is_none() {
            headers.insert(name, HeaderValue::from_static(ours));
        }
    }
    for (name, value) in trace::current().headers() {
        if let (None, Ok(value)) = (first(given, name), HeaderValue::from_str(value)) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let no_accept = first(given, "accept") == Some("");
    let mut agent_seen = false;
    for header in given {
        let bad = |reason| NetError::Header {
            name: text::quote(&header.name, 64),
            reason,
        };
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if NOT_THE_USERS.into_iter().any(is) || (no_accept && is("accept")) {
            continue;
        }
        // Only the first counts, and an empty one means none.
        if is("user-agent") && (std::mem::replace(&mut agent_seen, true) || header.value.is_empty())
        {
            continue;
        }
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| bad("not a name"))?;
        headers
            .try_append(name, value(&header.value).map_err(bad)?)
            .map_err(|_| bad("too many headers"))?;
    }
    Ok(headers)
}

/// The headers with the `Host` first, as RFC 9110, 7.2 recommends.
pub(super) fn with_host(host: &str, others: &HeaderMap) -> Result<HeaderMap, NetError> {
    let mut headers = HeaderMap::with_capacity(others.len().saturating_add(1));
    let host = value(host).map_err(|reason| NetError::Header {
        name: HOST.to_string(),
        reason,
    })?;
    headers.insert(HOST, host);
    for (name, value) in others {
        headers.append(name, value.clone());
    }
    Ok(headers)
}

/// The user's `Host`, none if it is empty.
pub(super) fn host(given: &[Header]) -> Option<&str> {
    first(given, "host").filter(|host| !host.is_empty())
}

fn first<'a>(given: &'a [Header], name: &str) -> Option<&'a str> {
    given
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.as_str())
}

fn value(text: &str) -> Result<HeaderValue, &'static str> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| "the value holds control characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(given: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let given: Vec<Header> = given
            .iter()
            .map(|(name, value)| Header {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect();
        let headers = build(&given).map_err(|error| error.to_string())?;
        let host = host(&given).unwrap_or("10.0.0.5:80");
        let headers = with_host(host, &headers).map_err(|error| error.to_string())?;
        Ok(headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect())
    }

    const AGENT: &str = concat!("user-agent: podhook/", env!("CARGO_PKG_VERSION"));

    #[test]
    fn ours_where_the_user_has_none() {
        assert_eq!(
            built(&[("X-Reason", "stop")]).unwrap(),
            [
                "host: 10.0.0.5:80",
                AGENT,
                "accept: */*",
                "connection: close",
                "x-reason: stop"
            ]
        );
    }

    #[test]
    fn the_users_replace_ours() {
        assert_eq!(
            built(&[
                ("host", "shop"),
                ("USER-AGENT", "me"),
                ("Accept", "a"),
                ("Accept", "b"),
                ("Connection", "keep-alive")
            ])
            .unwrap(),
            [
                "host: shop",
                "user-agent: me",
                "accept: a",
                "accept: b",
                "connection: keep-alive"
            ]
        );
    }

    #[test]
    fn an_empty_value_takes_ours_away() {
        assert_eq!(
            built(&[
                ("Accept", ""),
                ("Accept", "x"),
                ("User-Agent", ""),
                ("User-Agent", "x"),
                ("Host", "")
            ])
            .unwrap(),
            ["host: 10.0.0.5:80", "connection: close"]
        );
    }

    #[test]
    fn a_header_may_repeat_and_be_empty() {
        let headers = built(&[("X-A", "1"), ("x-b", ""), ("X-A", "é")]).unwrap();
        assert_eq!(headers[4..], ["x-a: 1", "x-a: é", "x-b: "]);
    }

    #[test]
    fn a_body_cannot_be_claimed() {
        let headers = built(&[("Content-Length", "5"), ("Transfer-Encoding", "chunked")]).unwrap();
        assert_eq!(headers.len(), 4, "{headers:?}");
    }

    #[test]
    fn control_characters_are_an_error_that_names_the_header() {
        assert_eq!(
            built(&[("X-Reason", "a\u{1}")]).unwrap_err(),
            "header \"X-Reason\": the value holds control characters"
        );
        assert!(
            built(&[("Host", "a\u{7f}")])
                .unwrap_err()
                .starts_with("header host")
        );
    }
}
