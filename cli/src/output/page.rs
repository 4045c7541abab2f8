//! A page: labels on the left, values in columns.

use super::escape::visible;

/// A page of `Label: value` lines; the values of consecutive lines of one depth stand below each
/// other.
#[derive(Debug, Default)]
pub(crate) struct Page {
    lines: Vec<(usize, String, String)>,
}

impl Page {
    /// Adds a line at a depth of two blanks each; without value, a heading. What it says may come
    /// from a container.
    pub(crate) fn line(
        &mut self,
        depth: usize,
        label: impl Into<String>,
        value: impl Into<String>,
    ) {
        let visible = |text: String| visible(&text).into_owned();
        let (label, value) = (visible(label.into()), visible(value.into()));
        self.lines.push((depth, label, value));
    }

    /// A list below a heading; `<none>` beside it when there is nothing.
    pub(crate) fn list(
        &mut self,
        depth: usize,
        label: &str,
        items: impl IntoIterator<Item = String>,
    ) {
        let items: Vec<String> = items.into_iter().collect();
        let none = if items.is_empty() { "<none>" } else { "" };
        self.line(depth, label, none);
        for item in items {
            self.line(depth.saturating_add(1), item, "");
        }
    }

    /// `key=value` pairs, one per line, the first beside the label (kubectl printLabelsMultiline).
    pub(crate) fn pairs<'a>(
        &mut self,
        label: &str,
        separator: &str,
        pairs: impl Iterator<Item = (&'a String, &'a String)>,
    ) {
        let mut label = label;
        for (key, value) in pairs {
            self.line(0, label, format!("{key}{separator}{value}"));
            label = "";
        }
        if !label.is_empty() {
            self.line(0, label, "<none>");
        }
    }

    /// The page as text.
    pub(crate) fn into_text(self) -> String {
        let mut text = String::new();
        let widths: Vec<usize> = (0..self.lines.len()).map(|i| self.width(i)).collect();
        for ((depth, label, value), width) in self.lines.iter().zip(widths) {
            let indent = "  ".repeat(*depth);
            let line = if value.is_empty() {
                format!("{indent}{label}")
            } else {
                format!("{indent}{label:width$}  {value}")
            };
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The widest label around line `i` at its depth; deeper lines do not end the block.
    fn width(&self, i: usize) -> usize {
        let depth = self.lines.get(i).map_or(0, |line| line.0);
        let block = |line: &&(usize, String, String)| line.0 >= depth;
        let labels = |line: &(usize, String, String)| {
            (line.0 == depth && !line.2.is_empty()).then(|| line.1.chars().count())
        };
        let (before, after) = self.lines.split_at_checked(i).unwrap_or_default();
        let before = before.iter().rev().take_while(block).filter_map(labels);
        let after = after.iter().take_while(block).filter_map(labels);
        before.chain(after).max().unwrap_or(0)
    }
}
