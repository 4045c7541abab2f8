//! Something to say about a place in a file.

use std::fmt;

use serde::Serialize;

use super::escape;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Ok,
    Note,
    Warning,
    Error,
}

/// Something to say about a place in a file; shown as `error: web.yaml:12:9: …`, with a hint on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) severity: Severity,
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// What it is about, as `deployment/web`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) object: String,
    /// The part of it, as `container nginx`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) subject: String,
    /// The field, as `spec.containers[0].lifecycle`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) path: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hint: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Ok => "",
            Severity::Note => "note: ",
            Severity::Warning => "warning: ",
            Severity::Error => "error: ",
        };
        write!(f, "{word}{}:{}:{}: ", self.file, self.line, self.column)?;
        // A message may name the field itself.
        let start = self.message.split(": ").next().unwrap_or_default();
        let is_named = self.message.contains(&self.path) || self.path.ends_with(start);
        let path = match is_named || !self.subject.is_empty() {
            true => "",
            false => &self.path,
        };
        let parts = [&self.object, &self.subject, path];
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            write!(f, "{}: ", escape::visible(part))?;
        }
        f.write_str(&escape::visible(&self.message))?;
        if !self.hint.is_empty() {
            write!(f, "\n  hint: {}", escape::visible(&self.hint))?;
        }
        Ok(())
    }
}
