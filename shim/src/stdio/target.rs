//! Where output goes: the URI that containerd sends as `stdout` and `stderr`.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// A parsed stdout or stderr.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    None,
    /// A fifo that containerd reads: a bare path, or `fifo://`.
    Fifo(String),
    /// A file that is appended to: `file://`.
    File(PathBuf),
    /// A program that takes both outputs: `binary://`, `binary-v2://`.
    Binary {
        path: PathBuf,
        /// Its arguments: each key of the query, followed by its value where that is not empty.
        args: Vec<String>,
        /// Whether the ready pipe must carry a byte; for `binary://` its end is enough.
        byte_required: bool,
    },
}

impl Target {
    pub fn parse(uri: &str) -> Result<Self> {
        if uri.is_empty() {
            return Ok(Self::None);
        }
        let Some((scheme, rest)) = uri.split_once("://") else {
            return Ok(Self::Fifo(uri.to_owned()));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = decode(path);
        match scheme {
            "fifo" => Ok(Self::Fifo(path)),
            "file" => Ok(Self::File(path.into())),
            "binary" | "binary-v2" => Ok(Self::Binary {
                path: path.into(),
                args: arguments(query),
                byte_required: scheme == "binary-v2",
            }),
            _ => Err(Error::InvalidArgument(format!(
                "stdio scheme {scheme:?} is not supported: expected fifo, file, binary or binary-v2"
            ))),
        }
    }
}

fn arguments(query: &str) -> Vec<String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .flat_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            [
                decode(&key.replace('+', " ")),
                decode(&value.replace('+', " ")),
            ]
        })
        .filter(|word| !word.is_empty())
        .collect()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Percent-decoding; what is no escape stays as it is.
fn decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let escape = match rest {
            [b'%', high, low, after @ ..] => hex(*high)
                .zip(hex(*low))
                .map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        let (byte, after) = escape.unwrap_or((*byte, after));
        decoded.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes() {
        assert_eq!(Target::parse("").unwrap(), Target::None);
        assert_eq!(
            Target::parse("/run/fifo/1").unwrap(),
            Target::Fifo("/run/fifo/1".into())
        );
        assert_eq!(
            Target::parse("file:///var/log/a%20b").unwrap(),
            Target::File("/var/log/a b".into())
        );
        assert_eq!(
            Target::parse("binary:///bin/logger?id=c1&verbose").unwrap(),
            Target::Binary {
                path: "/bin/logger".into(),
                args: vec!["id".into(), "c1".into(), "verbose".into()],
                byte_required: false
            }
        );
        assert!(
            Target::parse("http://x")
                .unwrap_err()
                .to_string()
                .contains("\"http\"")
        );
    }

    #[test]
    fn a_percent_that_is_no_escape_stays() {
        assert_eq!(decode("100%é%4"), "100%é%4");
    }
}
