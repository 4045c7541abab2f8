//! Strict reading of a manifest: every field is supported, or named in an error.
//!
//! Kubernetes prunes or ignores what it does not know; here a field that is silently dropped (a
//! probe, an affinity) would be a promise not kept. The rules in [`super::fields`] say of each
//! field what is allowed; this module walks a manifest along them.

use std::fmt;

use podhook_hooks::similar::similar;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::path::Path;

/// What a field may hold.
#[derive(Debug)]
pub(super) enum Rule {
    /// Anything; the typed conversion checks it.
    Value,
    /// A string.
    Text,
    /// An integer.
    Whole,
    /// A boolean.
    Flag,
    /// A port: its number or its name.
    Port,
    /// One of these strings, and Kubernetes has no others.
    Word(&'static [&'static str]),
    /// An object with these fields only.
    Struct(&'static [(&'static str, Rule)]),
    /// A list of such values.
    List(&'static Rule),
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// This boolean only.
    Only(bool),
    /// A map with these keys only; the others are known to Kubernetes, not to podhook.
    Keys(&'static [&'static str]),
    /// A field of the Kubernetes API that podhook does not implement.
    Unsupported,
}

/// One field that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaError {
    /// Kubernetes does not know the field.
    Unknown {
        /// Its path, as `spec.containers[0].foo`.
        path: String,
        /// What the user may have meant, or where it is to be written.
        hint: Option<String>,
    },
    /// podhook does not implement it.
    Unsupported { path: String },
    /// podhook does not implement this value of it.
    UnsupportedValue {
        path: String,
        /// The value, as JSON.
        value: String,
        /// What is implemented.
        supported: String,
    },
    /// The value is of the wrong type.
    Type { path: String, message: String },
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { path, hint } => {
                write!(f, "unknown field {path:?}")?;
                let hint = hint.as_ref();
                hint.map_or(Ok(()), |hint| write!(f, " ({hint})"))
            }
            Self::Unsupported { path } => write!(f, "{path}: not supported by podhook"),
            Self::UnsupportedValue {
                path,
                value,
                supported,
            } => {
                write!(
                    f,
                    "{path}: {value} is not supported by podhook, only {supported}"
                )
            }
            Self::Type { path, message } => write!(f, "{path}: {message}"),
        }
    }
}

impl std::error::Error for SchemaError {}

impl From<serde_path_to_error::Error<serde_json::Error>> for SchemaError {
    fn from(error: serde_path_to_error::Error<serde_json::Error>) -> Self {
        // Its own text has a dot before a key that holds dots itself, as those of annotations do.
        let path = error
            .path()
            .iter()
            .fold(Path::default(), |path, segment| match segment {
                Segment::Seq { index } => path.index(*index),
                Segment::Map { key } => path.key(key),
                Segment::Enum { variant } => path.key(variant),
                Segment::Unknown => path,
            });
        Self::Type {
            path: path.to_string(),
            message: plain(&error.inner().to_string()),
        }
    }
}

/// A message of the conversion without the names of Rust's types.
fn plain(message: &str) -> String {
    ["i64", "i32", "u64", "u32", "u16"]
        .iter()
        .fold(message.to_owned(), |text, name| {
            text.replace(&format!("expected {name}"), "expected a whole number")
        })
        .replace("expected a boolean", "expected true or false")
}

impl SchemaError {
    /// The field.
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Unknown { path, .. }
            | Self::Unsupported { path }
            | Self::UnsupportedValue { path, .. }
            | Self::Type { path, .. } => path,
        }
    }

    /// What is wrong with it.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Unknown { hint: None, .. } => "unknown field".to_owned(),
            Self::Unknown {
                hint: Some(hint), ..
            } => format!("unknown field ({hint})"),
            Self::Type { message, .. } => message.clone(),
            Self::Unsupported { path } | Self::UnsupportedValue { path, .. } => {
                let text = self.to_string();
                let reason = text.strip_prefix(&format!("{path}: "));
                reason.unwrap_or(&text).to_owned()
            }
        }
    }

    /// The same, in what is at `above`.
    pub(super) fn below(mut self, above: &str) -> Self {
        let (Self::Unknown { path, .. }
        | Self::Unsupported { path }
        | Self::UnsupportedValue { path, .. }
        | Self::Type { path, .. }) = &mut self;
        *path = format!("{above}.{path}");
        self
    }

    /// Whether Kubernetes knows what is refused, and only podhook does not do it.
    pub(crate) fn is_kubernetes(&self) -> bool {
        matches!(
            self,
            Self::Unsupported { .. } | Self::UnsupportedValue { .. }
        )
    }
}

/// podhook's own fields are no fields of a Pod: the API server and kubectl would refuse them.
const OWN_FIELDS: [&str; 4] = [
    "timeoutSeconds",
    "onFailure",
    "terminationGracePeriodSeconds",
    "output",
];
const OWN_FIELD_HINT: &str =
    "podhook's own lifecycle fields go into the annotation lifecycle.podhook.dev/<container>";

/// Walks `value` along `rule` and collects every field that cannot be accepted.
pub(super) fn check(value: &Value, rule: &Rule, path: &str, errors: &mut Vec<SchemaError>) {
    // An unset field says nothing, whatever its rule: tools print `creationTimestamp: null`.
    if is_empty(value) {
        return;
    }
    match rule {
        Rule::Value => {}
        Rule::Text if value.is_string() => {}
        Rule::Text => errors.push(type_error(path, value, "a string")),
        Rule::Whole if is_whole(value) => {}
        Rule::Whole => errors.push(type_error(path, value, "a whole number")),
        Rule::Flag if value.is_boolean() => {}
        Rule::Flag => errors.push(type_error(path, value, "true or false")),
        Rule::Port if is_whole(value) || value.is_string() => {}
        Rule::Port => errors.push(type_error(path, value, "a whole number or a name")),
        Rule::Word(allowed) => match value {
            Value::String(text) if allowed.contains(&text.as_str()) => {}
            _ => errors.push(type_error(
                path,
                value,
                &format!("one of {}", allowed.join(", ")),
            )),
        },
        Rule::Struct(fields) => check_struct(value, fields, path, errors),
        Rule::List(item) => match value {
            Value::Array(items) => {
                for (i, value) in items.iter().enumerate() {
                    check(value, item, &format!("{path}[{i}]"), errors);
                }
            }
            _ => errors.push(type_error(path, value, "a list")),
        },
        Rule::OneOf(allowed) => match value {
            Value::String(text) if allowed.contains(&text.as_str()) => {}
            _ => errors.push(unsupported_value(path, value, &allowed.join(", "))),
        },
        Rule::Only(allowed) => {
            if *value != Value::Bool(*allowed) {
                errors.push(unsupported_value(path, value, &allowed.to_string()));
            }
        }
        Rule::Keys(keys) => match value {
            Value::Object(map) => errors.extend(
                map.keys()
                    .filter(|key| !keys.contains(&key.as_str()))
                    .map(|key| SchemaError::Unsupported {
                        path: join(path, key),
                    }),
            ),
            _ => errors.push(type_error(path, value, "an object")),
        },
        Rule::Unsupported => errors.push(SchemaError::Unsupported {
            path: path.to_owned(),
        }),
    }
}

fn check_struct(value: &Value, fields: &[(&str, Rule)], path: &str, errors: &mut Vec<SchemaError>) {
    let Value::Object(map) = value else {
        errors.push(type_error(path, value, "an object"));
        return;
    };
    for (key, value) in map {
        let path = join(path, key);
        match fields.iter().find(|(name, _)| name == key) {
            Some((_, rule)) => check(value, rule, &path, errors),
            None => errors.push(SchemaError::Unknown {
                hint: hint(&path, key, fields),
                path,
            }),
        }
    }
}

fn hint(path: &str, key: &str, fields: &[(&str, Rule)]) -> Option<String> {
    if path.contains(".lifecycle.") && OWN_FIELDS.contains(&key) {
        return Some(OWN_FIELD_HINT.to_owned());
    }
    let meant = similar(key, fields.iter().map(|(name, _)| *name))?;
    Some(format!("did you mean {meant:?}?"))
}

fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn join(path: &str, key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match (path.is_empty(), key.chars().all(plain)) {
        (true, _) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (false, false) => format!("{path}[{key}]"),
    }
}

fn type_error(path: &str, value: &Value, expected: &str) -> SchemaError {
    SchemaError::Type {
        path: path.to_owned(),
        message: format!("expected {expected}, found {}", short(value)),
    }
}

fn unsupported_value(path: &str, value: &Value, supported: &str) -> SchemaError {
    SchemaError::UnsupportedValue {
        path: path.to_owned(),
        value: short(value),
        supported: supported.to_owned(),
    }
}

/// A value for a message: short, whatever the input.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text
        .char_indices()
        .nth(60)
        .map(|(end, _)| text.split_at(end))
    {
        Some((start, _)) => format!("{start}…"),
        None => text,
    }
}
