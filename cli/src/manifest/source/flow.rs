//! New fields between brackets: JSON, and YAML that is written so.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::PrettyFormatter;

use super::emit;
use super::lines;
use super::tree::Node;
use crate::manifest::judgement;

/// How the fields of a mapping are written.
pub(super) struct Style {
    /// Keys and strings in double quotes.
    is_json: bool,
    /// What is between two fields.
    pub(super) separator: String,
    colon: &'static str,
    /// The fields' indentation, and that of one level, where each has a line.
    levels: Option<(String, String)>,
}

impl Style {
    /// As the fields are written that are there.
    pub(super) fn of(text: &str, mapping: &Node, is_json: bool) -> Self {
        let mut style = Self {
            is_json,
            separator: ", ".to_owned(),
            colon: ": ",
            levels: None,
        };
        let Some(last) = mapping.entries().last() else {
            return style;
        };
        let gap = text
            .get(last.key.end..last.value.place.byte)
            .unwrap_or_default();
        if gap == ":" {
            (style.separator, style.colon) = (",".to_owned(), ":");
        }
        let before = lines::before(text, last.key.place.byte);
        if before.trim().is_empty() {
            let outer = lines::whole(text, mapping.place.byte);
            let outer: String = outer.chars().take_while(|c| c.is_whitespace()).collect();
            let unit = before
                .strip_prefix(outer.as_str())
                .filter(|unit| !unit.is_empty());
            style.separator = format!(",\n{before}");
            style.levels = Some((before.to_owned(), unit.unwrap_or("  ").to_owned()));
        }
        style
    }

    pub(super) fn entry(&self, key: &str, value: &Value) -> String {
        format!("{}{}{}", self.key(key), self.colon, self.value(key, value))
    }

    fn key(&self, key: &str) -> String {
        match self.is_json || !emit::is_plain(key) {
            true => emit::json(&key.into()),
            false => key.to_owned(),
        }
    }

    pub(super) fn value(&self, key: &str, value: &Value) -> String {
        if self.is_json {
            return match &self.levels {
                Some((indent, unit)) => pretty(value, indent, unit),
                None if self.colon == ":" => {
                    crate::output::escape::json(&value.to_string()).into_owned()
                }
                None => emit::json(value),
            };
        }
        match value {
            Value::Object(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(key, value)| format!("{}: {}", self.key(key), self.value(key, value)))
                    .collect();
                format!("{{{}}}", fields.join(", "))
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let items: Vec<String> = items.iter().map(|item| self.value("", item)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::String(text) if judgement::is_ours(key) => {
                match serde_json::from_str::<Value>(text) {
                    Ok(value) => emit::single_quoted(&emit::json(&value)),
                    Err(_) => emit::json(value),
                }
            }
            value => emit::scalar(value),
        }
    }
}

/// As `kubectl -o json` prints it.
fn pretty(value: &Value, indent: &str, unit: &str) -> String {
    let mut out = Vec::new();
    let formatter = PrettyFormatter::with_indent(unit.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    let text = match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        Err(_) => value.to_string(),
    };
    crate::output::escape::json(&text.replace('\n', &format!("\n{indent}"))).into_owned()
}
