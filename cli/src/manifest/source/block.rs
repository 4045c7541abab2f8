//! New fields between the lines of a block.

use serde_json::Value;

use super::emit;
use crate::manifest::judgement;
use crate::manifest::path::Path;

/// The comments that go with a field.
pub(super) type Comments<'c> = &'c mut dyn FnMut(&Path) -> Vec<String>;

/// Lines of a block.
pub(super) struct Block<'c> {
    out: String,
    comments: Comments<'c>,
}

impl<'c> Block<'c> {
    fn new(comments: Comments<'c>) -> Self {
        Self {
            out: String::new(),
            comments,
        }
    }

    /// The lines of a field; each ends with a line feed.
    pub(super) fn entry(
        indent: usize,
        path: &Path,
        key: &str,
        value: &Value,
        comments: Comments<'c>,
    ) -> String {
        let mut block = Self::new(comments);
        block.push_entry(indent, path, key, value);
        block.out
    }

    /// The lines of an object's fields.
    pub(super) fn entries(
        indent: usize,
        path: &Path,
        value: &Value,
        comments: Comments<'c>,
    ) -> String {
        let mut block = Self::new(comments);
        for (key, value) in value.as_object().into_iter().flatten() {
            block.push_entry(indent, &path.key(key), key, value);
        }
        block.out
    }

    fn line(&mut self, indent: usize, text: &str) {
        if !text.is_empty() {
            self.out.extend(std::iter::repeat_n(' ', indent));
        }
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn push_entry(&mut self, indent: usize, path: &Path, key: &str, value: &Value) {
        for comment in (self.comments)(path) {
            self.line(indent, &comment);
        }
        let name = emit::scalar(&key.into());
        self.push_value(indent, &format!("{name}:"), path, key, value);
    }

    /// A value after what introduces it: a key, or the dash of an item.
    fn push_value(&mut self, indent: usize, intro: &str, path: &Path, key: &str, value: &Value) {
        let inner = indent.saturating_add(2);
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                self.line(indent, intro);
                for (key, value) in fields {
                    self.push_entry(inner, &path.key(key), key, value);
                }
            }
            Value::Array(items) if items.iter().any(needs_lines) => {
                self.line(indent, intro);
                for (i, item) in items.iter().enumerate() {
                    self.push_item(inner, &path.index(i), item);
                }
            }
            Value::String(text) => match lines(key, text) {
                Some((header, text)) => {
                    self.line(indent, &format!("{intro} {header}"));
                    for line in text.lines() {
                        self.line(inner, line);
                    }
                }
                None => self.line(indent, &format!("{intro} {}", emit::scalar(value))),
            },
            _ => self.line(indent, &format!("{intro} {}", emit::json(value))),
        }
    }

    fn push_item(&mut self, indent: usize, path: &Path, item: &Value) {
        let Some(fields) = item.as_object().filter(|fields| !fields.is_empty()) else {
            return self.push_value(indent, "-", path, "", item);
        };
        let start = self.out.len();
        for (key, value) in fields {
            self.push_entry(indent.saturating_add(2), &path.key(key), key, value);
        }
        // The dash stands before the first field.
        let dash = start.saturating_add(indent);
        self.out.replace_range(dash..dash.saturating_add(1), "-");
    }
}

/// Whether an item needs lines of its own.
fn needs_lines(item: &Value) -> bool {
    match item {
        Value::String(text) => emit::is_block(text),
        Value::Object(_) | Value::Array(_) => true,
        _ => false,
    }
}

/// A string that is a block of text.
fn lines(key: &str, text: &str) -> Option<(&'static str, String)> {
    if judgement::is_ours(key)
        && let Ok(value @ Value::Object(_)) = serde_json::from_str(text)
    {
        return Some(("|", emit::annotation(&value)));
    }
    emit::is_block(text).then(|| match text.ends_with('\n') {
        true => ("|", text.to_owned()),
        false => ("|-", text.to_owned()),
    })
}
