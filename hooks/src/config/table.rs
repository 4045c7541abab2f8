//! The table of docs/configuration.md.

use std::fmt::Write;

use super::node::rows;

/// Every key of the node's configuration, with its meaning and its default, as a table in Markdown.
pub fn table() -> String {
    let mut text = "| key | meaning | default |\n|---|---|---|\n".to_owned();
    for row in rows() {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            row.shown, row.meaning, row.default
        );
    }
    text
}
