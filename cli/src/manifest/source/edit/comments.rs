//! The comments around a field: which are its own.

use super::Editor;
use crate::manifest::path::Path;
use crate::manifest::source::lines;
use crate::manifest::source::tree::{Entry, Place};

impl Editor<'_, '_> {
    /// Remembers the comments of a field for where it goes.
    pub(super) fn carry(&mut self, from: &Path, to: &Path) {
        let Some((holder, key)) = from.split_key() else {
            return;
        };
        let Ok((node, _)) = self.source.tree.own(self.root, &holder) else {
            return;
        };
        let Some(entry) = node.entry(key) else {
            return;
        };
        let start = self.above(entry);
        let end = match node.is_flow() {
            true => entry.value.end,
            false => self.reach(entry),
        };
        let comments = self.source.tree.comments.iter().enumerate();
        let inside = comments.filter(|(_, comment)| (start..end).contains(&comment.place.byte));
        let inside: Vec<usize> = inside.map(|(i, _)| i).collect();
        self.carried.entry(to.clone()).or_default().extend(inside);
    }

    /// Where the comments begin that stand right above a field, else the field.
    pub(super) fn above(&self, entry: &Entry) -> usize {
        let text = self.text();
        let key = entry.key.place;
        let mut start = key.byte;
        if !lines::before(text, start).trim().is_empty() {
            return start;
        }
        start = lines::start(text, start);
        for comment in self.source.tree.comments.iter().rev() {
            let is_above =
                comment.place.byte < start && lines::next(text, comment.place.byte) == start;
            if is_above && comment.place.column == key.column && is_alone(text, comment.place) {
                start = lines::start(text, comment.place.byte);
            } else if comment.place.byte < start {
                break;
            }
        }
        start
    }

    /// Where the lines of a field end, comments that are indented below it included.
    pub(super) fn reach(&self, entry: &Entry) -> usize {
        let column = entry.key.place.column;
        self.followed(lines::next(self.text(), entry.value.end), |comment| {
            comment.column > column
        })
    }

    /// The end of the lines of such comments that follow, blank lines between them included.
    pub(super) fn followed(&self, mut end: usize, belongs: impl Fn(Place) -> bool) -> usize {
        let text = self.text();
        for comment in &self.source.tree.comments {
            let Some(between) = text.get(end..comment.place.byte) else {
                continue;
            };
            if !between.trim().is_empty() || !belongs(comment.place) {
                break;
            }
            end = lines::next(text, comment.end);
        }
        end
    }

    /// The end of a block, comments right below it included.
    pub(super) fn close(&self, end: usize, column: usize) -> usize {
        let text = self.text();
        let mut end = end;
        for comment in &self.source.tree.comments {
            if comment.place.byte >= end
                && lines::start(text, comment.place.byte) == end
                && comment.place.column >= column
                && is_alone(text, comment.place)
            {
                end = lines::next(text, comment.end);
            }
        }
        end
    }
}

/// Whether nothing else is on the line of a comment.
fn is_alone(text: &str, comment: Place) -> bool {
    lines::before(text, comment.byte).trim().is_empty()
}
