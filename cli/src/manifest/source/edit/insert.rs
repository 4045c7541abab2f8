//! Fields that come.

use serde_json::Value;

use super::{Editor, PLAIN, Refusal, refuse};
use crate::manifest::path::Path;
use crate::manifest::source::block::Block;
use crate::manifest::source::flow::Style;
use crate::manifest::source::tree::{Entry, Node};
use crate::manifest::source::{emit, lines};

impl Editor<'_, '_> {
    pub(super) fn set(
        &mut self,
        path: &Path,
        holder: &Path,
        key: &str,
        value: &Value,
        removed_to: usize,
    ) -> Result<(), Refusal> {
        let (node, holder_key) = self.own(holder)?;
        let is_first = ["runtimeClassName", "metadata"].contains(&key);
        if let Some(entry) = node.entry(key) {
            self.replace(path, node, entry, key, value);
        } else if node.is_flow() {
            let style = Style::of(self.source.text, node, self.is_json);
            let text = style.entry(key, value);
            let entries = node.entries();
            match (entries.first(), entries.last()) {
                (Some(first), _) if is_first => {
                    let at = first.key.place.byte;
                    self.splice(at..at, text + &style.separator);
                }
                (_, Some(last)) => {
                    self.splice(
                        last.value.end..last.value.end,
                        style.separator.clone() + &text,
                    );
                }
                _ => {
                    let at = node.place.byte.saturating_add(1);
                    self.splice(at..at, text);
                }
            }
        } else {
            let Some((first, last)) = node.entries().first().zip(node.entries().last()) else {
                return Err(refuse(node.place, format!("{holder} is no mapping"), PLAIN));
            };
            let column = first.key.place.column;
            let indent = column.saturating_sub(1);
            let text = self.lines(|comments| Block::entry(indent, path, key, value, comments));
            let at = match holder_key.filter(|_| is_first) {
                Some(above) => lines::next(self.text(), above.end),
                None => {
                    let end = lines::next(self.text(), last.value.end).max(removed_to);
                    self.close(end, column)
                }
            };
            self.insert_lines(at, text);
        }
        Ok(())
    }

    /// Sets a field that is there and says nothing.
    fn replace(&mut self, path: &Path, node: &Node, entry: &Entry, key: &str, value: &Value) {
        let text = self.source.text;
        let range = entry.value.place.byte..entry.value.end;
        if node.is_flow() {
            let style = Style::of(text, node, self.is_json);
            let space = if entry.value.is_nothing() { " " } else { "" };
            self.splice(range, format!("{space}{}", style.value(key, value)));
        } else if value.is_object() {
            let indent = entry.key.place.column.saturating_add(1);
            let block = self.lines(|comments| Block::entries(indent, path, value, comments));
            let gap = text.get(entry.key.end..range.start).unwrap_or_default();
            let colon = gap.find(':').unwrap_or_default();
            let start = entry.key.end.saturating_add(colon).saturating_add(1);
            self.splice(start.min(range.end)..range.end, "");
            self.insert_lines(lines::next(text, entry.value.end), block);
        } else {
            let space = if entry.value.is_nothing() { " " } else { "" };
            self.splice(range, format!("{space}{}", emit::scalar(value)));
        }
    }

    /// Lines, with the comments that go there.
    fn lines(
        &mut self,
        write: impl FnOnce(&mut dyn FnMut(&Path) -> Vec<String>) -> String,
    ) -> String {
        let (carried, kept, source) = (&mut self.carried, &mut self.kept, self.source);
        let mut comments = |path: &Path| -> Vec<String> {
            let numbers = carried.remove(path).unwrap_or_default();
            kept.extend(numbers.iter().copied());
            numbers
                .iter()
                .map(|i| source.comment(*i).to_owned())
                .collect()
        };
        write(&mut comments)
    }

    fn insert_lines(&mut self, at: usize, text: String) {
        let is_open = at == self.text().len() && !self.text().ends_with('\n');
        let text = if is_open { format!("\n{text}") } else { text };
        self.splice(at..at, text);
    }
}
