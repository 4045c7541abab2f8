//! Values as they were written: keys in order, duplicates kept, lines remembered.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// More than any valid value has; keeps recursion small whatever the input.
const MAX_DEPTH: usize = 32;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// The line of the key (in a table) or of the value, where the source has lines.
    pub(crate) line: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number that is no integer, or too large for one.
    Number,
    /// A TOML date or time: no field takes one.
    Date,
    String(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl From<Value> for Node {
    fn from(value: Value) -> Node {
        Node { value, line: None }
    }
}

impl Node {
    /// Whether it is an object with this field.
    pub(crate) fn has_field(&self, field: &str) -> bool {
        match &self.value {
            Value::Object(entries) => entries.iter().any(|(key, _)| key == field),
            _ => false,
        }
    }
}

/// Reads any serde format.
struct Builder {
    depth: usize,
}

impl Builder {
    fn deeper<E: Error>(&self) -> Result<Builder, E> {
        match self.depth {
            MAX_DEPTH => Err(E::custom("nested too deeply")),
            depth => Ok(Builder {
                depth: depth.saturating_add(1),
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        Builder { depth: 0 }.deserialize(deserializer)
    }
}

impl<'de> DeserializeSeed<'de> for Builder {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Builder {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Value::Null.into())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Value::Integer(value).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(i64::try_from(value)
            .map_or(Value::Number, Value::Integer)
            .into())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Value::Number.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Value::String(value.to_owned()).into())
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Value::String(value).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(self.deeper()?)? {
            elements.push(element);
        }
        Ok(Value::Array(elements).into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<String>()? {
            entries.push((key, access.next_value_seed(self.deeper()?)?));
        }
        Ok(Value::Object(entries).into())
    }
}

/// Where the lines of a text begin.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn of(text: &str) -> Lines {
        Lines(
            std::iter::once(0)
                .chain(text.match_indices('\n').map(|(at, _)| at.saturating_add(1)))
                .collect(),
        )
    }

    /// The line, counted from 1, of a byte.
    pub(crate) fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|start| *start <= byte)
    }
}

/// A TOML document's table; its parser refuses duplicates itself, and limits the depth.
pub(crate) fn from_toml(table: &DeTable<'_>, lines: &Lines) -> Node {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            let line = lines.at(key.span().start);
            let value = Node {
                line: Some(line),
                ..from_toml_value(value, lines)
            };
            (line, key.get_ref().clone().into_owned(), value)
        })
        .collect();
    // The parser sorts by key; the first error of a document is the first in its text.
    entries.sort_by_key(|(line, ..)| *line);
    let entries = entries
        .into_iter()
        .map(|(_, key, value)| (key, value))
        .collect();
    Value::Object(entries).into()
}

fn from_toml_value(spanned: &Spanned<DeValue<'_>>, lines: &Lines) -> Node {
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Number, Value::Integer),
        DeValue::Float(_) => Value::Number,
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(elements) => Value::Array(
            elements
                .iter()
                .map(|element| from_toml_value(element, lines))
                .collect(),
        ),
        DeValue::Table(table) => from_toml(table, lines).value,
    };
    Node {
        value,
        line: Some(lines.at(spanned.span().start)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_keys_survive() {
        let node: Node = serde_json::from_str(r#"{"a": 1, "a": null}"#).unwrap();
        let expected = vec![
            ("a".to_owned(), Value::Integer(1).into()),
            ("a".to_owned(), Value::Null.into()),
        ];
        assert_eq!(node.value, Value::Object(expected));
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        for text in ["[".repeat(100_000), r#"{"a":"#.repeat(100_000)] {
            let error = serde_json::from_str::<Node>(&text).unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with("nested too deeply at line 1 column"),
                "{error}"
            );
        }
        let mut value = serde_json::Value::Null;
        for _ in 0..1000 {
            value = serde_json::Value::Array(vec![value]);
        }
        assert!(Node::deserialize(&value).is_err());
    }

    #[test]
    fn lines_are_counted_from_one() {
        let lines = Lines::of("a\nb\n\nc");
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|byte| lines.at(byte)),
            [1, 1, 2, 2, 3, 4]
        );
    }
}
