//! A typed, strict look at a tree; every error knows where it is.

use std::collections::BTreeMap;

use super::error::FieldError;
use super::text;
use super::tree::{Node, Value};
use crate::similar::{did_you_mean, similar};

/// The longest key or value shown in a message, bytes.
const MAX_SHOWN: usize = 64;

/// A value and where it stands.
pub struct At {
    pub(crate) path: String,
    node: Node,
}

impl At {
    /// The whole value, or the part of a larger one that `path` names.
    pub(crate) fn root(path: &str, node: Node) -> At {
        At {
            path: path.to_owned(),
            node,
        }
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> FieldError {
        FieldError {
            line: self.node.line,
            ..FieldError::new(self.path.clone(), reason)
        }
    }

    pub(crate) fn is_string(&self) -> bool {
        matches!(self.node.value, Value::String(_))
    }

    pub(crate) fn is_array(&self) -> bool {
        matches!(self.node.value, Value::Array(_))
    }

    pub(crate) fn is_integer(&self) -> bool {
        matches!(self.node.value, Value::Integer(_) | Value::Number)
    }

    /// A string.
    ///
    /// # Errors
    /// Where it is none.
    pub fn string(&self) -> Result<&str, FieldError> {
        match &self.node.value {
            Value::String(text) => Ok(text),
            _ => Err(self.error("must be a string")),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn boolean(&self) -> Result<bool, FieldError> {
        match self.node.value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.error("must be true or false")),
        }
    }

    /// An integer from `min` to `max`.
    ///
    /// # Errors
    /// Where it is none of these.
    pub fn integer(&self, min: u32, max: u32) -> Result<u32, FieldError> {
        let Value::Integer(number) = self.node.value else {
            return Err(self.error("must be an integer"));
        };
        let in_range = u32::try_from(number)
            .ok()
            .filter(|number| (min..=max).contains(number));
        in_range.ok_or_else(|| self.error(format!("must be between {min} and {max}, inclusive")))
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, FieldError> {
        let given = self.string()?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == given) {
            return Ok(*choice);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let words = match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        };
        Err(self.error(format!("{} must be {words}", shown(given))))
    }

    pub(crate) fn array(self) -> Result<Vec<At>, FieldError> {
        let Value::Array(elements) = self.node.value else {
            return Err(self.error("must be an array"));
        };
        let at = |(index, node)| At {
            path: format!("{}[{index}]", self.path),
            node,
        };
        Ok(elements.into_iter().enumerate().map(at).collect())
    }

    /// An object that has no other fields than these, and none twice.
    pub(crate) fn object(self, known: &[&str]) -> Result<Fields, FieldError> {
        let Value::Object(entries) = self.node.value else {
            return Err(self.error("must be an object"));
        };
        let mut fields = BTreeMap::new();
        for (key, node) in entries {
            let at = At {
                path: join(&self.path, &key),
                node,
            };
            if !known.contains(&key.as_str()) {
                let meant = did_you_mean(similar(&key, known.iter().copied()));
                return Err(at.error(format!("unknown field{meant}")));
            }
            if fields.contains_key(&key) {
                return Err(at.error("duplicate field"));
            }
            fields.insert(key, at);
        }
        Ok(Fields {
            path: self.path,
            line: self.node.line,
            fields,
        })
    }
}

/// The fields of an object that are still to be read.
pub struct Fields {
    pub(crate) path: String,
    line: Option<usize>,
    fields: BTreeMap<String, At>,
}

impl Fields {
    /// A field; null is absent, as for Kubernetes.
    pub fn take(&mut self, key: &str) -> Option<At> {
        self.fields
            .remove(key)
            .filter(|at| at.node.value != Value::Null)
    }

    /// A field that must be there.
    pub(crate) fn require(&mut self, key: &str) -> Result<At, FieldError> {
        self.take(key).ok_or_else(|| {
            let error = FieldError::new(join(&self.path, key), "is required");
            FieldError {
                line: self.line,
                ..error
            }
        })
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> FieldError {
        FieldError {
            line: self.line,
            ..FieldError::new(self.path.clone(), reason)
        }
    }
}

/// The path of a field; a key that is no plain word is quoted.
fn join(path: &str, key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if key.is_empty() || key.len() > MAX_SHOWN || !key.bytes().all(plain) {
        return format!("{path}[{}]", shown(key));
    }
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

/// Text of the input inside of a message.
pub(crate) fn shown(text: &str) -> String {
    text::quote(text, MAX_SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(json: &str) -> At {
        At::root("", serde_json::from_str(json).unwrap())
    }

    fn error<T>(result: Result<T, FieldError>) -> String {
        result.map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn the_first_wrong_field_of_the_text_is_named() {
        assert_eq!(
            error(at(r#"{"a": 1, "x": 1, "a": 2}"#).object(&["a"])),
            "x: unknown field"
        );
        assert_eq!(
            error(at(r#"{"a": 1, "a": 2, "x": 1}"#).object(&["a"])),
            "a: duplicate field"
        );
    }

    #[test]
    fn a_field_that_is_like_a_known_one_is_proposed() {
        assert_eq!(
            error(at(r#"{"comand": []}"#).object(&["command"])),
            r#"comand: unknown field, did you mean "command"?"#
        );
    }

    #[test]
    fn strange_keys_are_quoted_and_cut() {
        assert_eq!(
            error(at(r#"{"a b\n": 1}"#).object(&[])),
            r#"["a b\n"]: unknown field"#
        );
        assert_eq!(
            error(at(r#"{"": 1}"#).object(&[])),
            r#"[""]: unknown field"#
        );
        let long = format!(r#"{{"{}": 1}}"#, "k".repeat(100_000));
        assert!(error(at(&long).object(&[])).len() < 120);
    }

    #[test]
    fn null_is_an_absent_field_but_still_a_field() {
        let mut fields = at(r#"{"a": null}"#).object(&["a"]).unwrap();
        assert!(fields.take("a").is_none());
        assert_eq!(
            error(at(r#"{"a": null, "a": 1}"#).object(&["a"])),
            "a: duplicate field"
        );
    }

    #[test]
    fn only_integers_are_integers() {
        for json in [
            "1.0",
            "1e0",
            "\"1\"",
            "true",
            "[1]",
            "18446744073709551616",
            "9223372036854775808",
        ] {
            assert_eq!(
                error(at(json).integer(0, 9)),
                "must be an integer",
                "{json}"
            );
        }
        for json in ["-1", "10", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(
                error(at(json).integer(0, 9)),
                "must be between 0 and 9, inclusive",
                "{json}"
            );
        }
        assert_eq!(at("9").integer(0, 9), Ok(9));
    }
}
