//! The text format of Prometheus, version 0.0.4: how a page is written.

use std::fmt::Write;

use super::escape;

/// The content type of a [`Page`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page under construction.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(crate) fn sample(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
    ) {
        self.0.push_str(name);
        for (i, (key, text)) in labels.iter().enumerate() {
            let _ = write!(
                self.0,
                "{}{key}=\"{}\"",
                if i == 0 { '{' } else { ',' },
                escaped(text)
            );
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// For the format, and for a terminal: names of containers outside of pods may hold anything.
fn escaped(label: &str) -> String {
    escape::lines(label)
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
