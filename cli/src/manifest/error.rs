//! What can be wrong with a manifest, in kubectl's words.

use std::fmt;
use std::path::PathBuf;

use super::schema::SchemaError;

/// A manifest that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// `-f` names something that does not exist.
    #[error("the path {path:?} does not exist")]
    NoSuchPath {
        /// As given.
        path: PathBuf,
    },
    /// Nothing to do in what `-f` names.
    #[error("no objects passed to {verb}")]
    NoObjects { verb: &'static str },
    /// No YAML.
    #[error("error parsing {origin}: {message}")]
    Yaml { origin: String, message: String },
    /// Fields that do not exist, are not supported, or have the wrong type.
    #[error("error validating {origin:?}: error validating data: {}", list(errors))]
    Fields {
        origin: String,
        errors: Vec<SchemaError>,
    },
    /// A document that is no Pod.
    #[error("error validating {origin:?}: {what}: podhook runs Pods, {reason}")]
    Kind {
        origin: String,
        /// The document, as `Deployment (apps/v1) "web"`.
        what: String,
        /// Why not this one.
        reason: &'static str,
    },
    /// The values do not make a valid object.
    #[error("The {kind} {name:?} is invalid: {}", bullets(causes))]
    Invalid {
        /// `Pod` or `RuntimeClass`.
        kind: &'static str,
        name: String,
        causes: Vec<Cause>,
    },
    /// `-n` and the manifest disagree.
    #[error(
        "the namespace from the provided object {object:?} does not match the namespace {flag:?}. \
         You must pass '--namespace={object}' to perform this operation."
    )]
    Namespace {
        /// In the manifest.
        object: String,
        /// On the command line.
        flag: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The field, as `spec.containers[0].image`.
    pub path: String,
    /// What is wrong, as `Required value`.
    pub message: String,
}

impl Cause {
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// One error plain, several in brackets (apimachinery `errors.Aggregate`).
fn list<T: fmt::Display>(errors: &[T]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [one] => one.clone(),
        _ => format!("[{}]", texts.join(", ")),
    }
}

/// One cause on the line, several below it (kubectl).
fn bullets(causes: &[Cause]) -> String {
    match causes {
        [one] => one.to_string(),
        _ => causes.iter().map(|c| format!("\n* {c}")).collect(),
    }
}
