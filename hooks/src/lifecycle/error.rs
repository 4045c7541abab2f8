//! What is wrong with a lifecycle, and where.

use std::fmt;

use thiserror::Error;

/// A field that is not as it must be. Always short, whatever the input held.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct FieldError {
    /// The field as `preStop.httpGet.httpHeaders[1].name`; empty for the whole value.
    pub path: String,
    pub reason: String,
    /// The line it stands on, where the source has lines (TOML).
    pub line: Option<usize>,
    /// What could stand there, where the reason leaves that open.
    pub example: Option<&'static str>,
}

impl FieldError {
    pub(crate) fn new(path: impl Into<String>, reason: impl Into<String>) -> FieldError {
        FieldError {
            path: path.into(),
            reason: reason.into(),
            line: None,
            example: None,
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)?;
        match self.example {
            Some(example) => write!(f, ": {example}"),
            None => Ok(()),
        }
    }
}

/// Why a container's lifecycle was refused; Create fails with InvalidArgument and this text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LifecycleError {
    /// An annotation's value is not a valid lifecycle.
    #[error("podhook: annotation {annotation}: {field}")]
    Annotation {
        /// The annotation's key, shortened for display.
        annotation: String,
        #[source]
        field: FieldError,
    },
}
