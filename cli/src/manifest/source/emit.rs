//! Values as text: as a person would write them.

use std::io;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::Formatter;

use crate::output::escape;

/// JSON on one line, with a space after each comma and colon; YAML, too.
pub(super) fn json(value: &Value) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Spaced);
    match value.serialize(&mut serializer) {
        Ok(()) => escape::json(&String::from_utf8_lossy(&out)).into_owned(),
        // A Value can be written, and memory takes it.
        Err(_) => escape::json(&value.to_string()).into_owned(),
    }
}

/// JSON as text of an annotation: each field of the lifecycle on a line of its own.
pub(super) fn annotation(value: &Value) -> String {
    let Some(fields) = value.as_object().filter(|fields| !fields.is_empty()) else {
        return json(value);
    };
    let fields: Vec<String> = fields
        .iter()
        .map(|(key, value)| format!("{}: {}", json(&key.as_str().into()), json(value)))
        .collect();
    format!("{{{}}}", fields.join(",\n "))
}

/// A string as YAML in a block, on one line.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        _ => json(value),
    }
}

/// In single quotes, in which JSON is easy to read.
pub(super) fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What YAML, 1.1 or 1.2, takes for this string without quotes.
pub(super) fn is_plain(text: &str) -> bool {
    const OTHERS: [&str; 11] = [
        "y", "n", "yes", "no", "true", "false", "on", "off", "null", "inf", "nan",
    ];
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '/';
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    text.starts_with(is_start)
        && text.chars().all(is_inner)
        && !OTHERS.contains(&text.to_ascii_lowercase().as_str())
}

/// Whether it can be a block of text as it is: `|`, and then its lines.
pub(super) fn is_block(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\t', '\n'])
        && !text.ends_with("\n\n")
        && !text.contains('\r')
        && escape::lines(text) == text
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_written_to_be_read() {
        let value = json!({"preStop": {"exec": {"command": ["sh", "-c", "a\u{85}\u{202e}"]}}, "stopSignal": "x"});
        let line = r#"{"preStop": {"exec": {"command": ["sh", "-c", "a\u0085\u202e"]}}, "stopSignal": "x"}"#;
        assert_eq!(json(&value), line);
        assert_eq!(annotation(&value), line.replace("}}, ", "}},\n "));
        assert_eq!(serde_json::from_str::<Value>(line).unwrap(), value);
        assert_eq!(annotation(&json!({})), "{}");
    }

    #[test]
    fn only_what_every_yaml_takes_for_a_string_is_plain() {
        for text in ["sh", "/bin/sh", "nginx", "X-Reason", "a_b.c"] {
            assert!(is_plain(text), "{text}");
        }
        for text in [
            "", "yes", "No", "null", "1", "-c", "a b", "a: b", "~", ".5", "é", "#", "0x1", "NaN",
        ] {
            assert!(!is_plain(text), "{text}");
        }
        assert!(is_block("a\n  b\tc\n") && is_block("a\nb"));
        for text in [
            "a",
            "a\n",
            " a\nb",
            "\na\nb",
            "a\nb\n\n",
            "a\r\nb\n",
            "a\n\u{1b}",
        ] {
            assert!(!is_block(text), "{text:?}");
        }
    }
}
