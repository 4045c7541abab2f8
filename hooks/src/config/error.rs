//! What is wrong with a configuration.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::lifecycle::{FieldError, text};

/// Why a configuration was refused. Always short, whatever the file held.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("read configuration {path}: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is not TOML.
    #[error("{origin}: line {line}: is not valid TOML: {reason}")]
    Syntax {
        /// The file, or where else the text comes from.
        origin: String,
        /// The line of the error.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// A key or its value is wrong.
    #[error("{origin}: {field}")]
    Field {
        /// The file, or where else the text comes from.
        origin: String,
        #[source]
        field: FieldError,
    },
}

impl ConfigError {
    pub(super) fn syntax(origin: &str, line: usize, message: &str) -> ConfigError {
        let reason = text::shorten(message.lines().next().unwrap_or_default(), 160);
        ConfigError::Syntax {
            origin: origin.to_owned(),
            line,
            reason,
        }
    }

    pub(super) fn field(origin: &str, field: FieldError) -> ConfigError {
        ConfigError::Field {
            origin: origin.to_owned(),
            field,
        }
    }
}
