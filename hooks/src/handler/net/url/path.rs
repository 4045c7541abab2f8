//! Paths and queries that are fit for a request line, written as Go writes them.

use super::parts::{after_slashes, is_authority, split_query};

/// A path without dot segments: RFC 3986, 5.2.4, as Go's url.ResolveReference does it. An empty one stays empty.
pub(super) fn without_dots(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let mut kept = String::from("/");
    let mut first = true;
    let mut last = "";
    for segment in path.split('/') {
        last = segment;
        match segment {
            "." => first = false,
            ".." => {
                let parent = kept.rfind('/').filter(|at| *at > 0);
                kept.truncate(parent.unwrap_or(1));
                first = kept.len() == 1;
            }
            segment => {
                if !first {
                    kept.push('/');
                }
                first = false;
                kept.push_str(segment);
            }
        }
    }
    if matches!(last, "." | "..") {
        kept.push('/');
    }
    // The first slash of the path is its own.
    match kept.strip_prefix('/').filter(|rest| rest.starts_with('/')) {
        Some(rest) => rest.to_owned(),
        None => kept,
    }
}

/// A handler's path for a request line. As the kubelet: what is no URL, for a `%` without two hex digits, is a path
/// altogether.
pub(super) fn target(given: &str) -> String {
    let slash = if given.starts_with('/') { "" } else { "/" };
    let given = format!("{slash}{given}");
    without_authority(&given).and_then(sent).unwrap_or_else(|| {
        let mut out = String::with_capacity(given.len());
        escape(&mut out, given.as_bytes(), PATH);
        out
    })
}

/// `//host/path` names a host, which the handler's own replaces. None where that can be no host.
fn without_authority(given: &str) -> Option<&str> {
    let Some(rest) = after_slashes(given) else {
        return Some(given);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    is_authority(None, authority).then_some(path)
}

/// Bytes that Go leaves in a path that it writes anew, and those that it leaves where they were written.
const PATH: &[u8] = b"-_.~$&+,/:;=@";
const WRITTEN: &[u8] = b"-_.~$&+,/:;=@!'()*[]%";
/// Bytes that stay in a query: any other breaks the request line. Go sends those, too.
pub(super) const QUERY: &[u8] = b"-_.~!$&'()*+,;=:@/?%[]{}|\\^`";

/// Path and query as Go's url.Parse and RequestURI make them, without the fragment. None for what is no URL.
pub(super) fn sent(given: &str) -> Option<String> {
    let (whole, fragment) = given.split_once('#').unwrap_or((given, ""));
    let (path, query) = split_query(whole);
    let is_url = !has_control(given) && is_escaped(fragment);
    is_url.then_some(())?;
    Some(joined(written(path)?, query))
}

/// A path of characters that a URL may have stays as it is written, any other is decoded and written anew.
pub(super) fn written(path: &str) -> Option<String> {
    let decoded = decoded(path)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || WRITTEN.contains(&byte);
    if path.bytes().all(fits) {
        return Some(path.to_owned());
    }
    let mut out = String::with_capacity(path.len());
    escape(&mut out, &decoded, PATH);
    Some(out)
}

/// A path that is fit for a request line, and a query that is made so.
pub(super) fn joined(path: String, query: &str) -> String {
    let mut out = if path.is_empty() {
        "/".to_owned()
    } else {
        path
    };
    escape(&mut out, query.as_bytes(), QUERY);
    out
}

pub(super) fn has_control(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_control())
}

/// Whether every `%` is followed by two hex digits.
pub(super) fn is_escaped(text: &str) -> bool {
    decoded(text).is_some()
}

/// None where a `%` is not followed by two hex digits.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let hex = |byte: Option<u8>| char::from(byte?).to_digit(16);
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => u8::try_from((hex(bytes.next())? << 4) | hex(bytes.next())?).ok()?,
            byte => byte,
        });
    }
    Some(out)
}

/// Percent-encodes all but letters, digits and `kept`.
pub(super) fn escape(out: &mut String, text: &[u8], kept: &[u8]) {
    for &byte in text {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}
