//! Fields that go.

use std::collections::BTreeSet;

use super::{Editor, PLAIN, Refusal, name, refuse};
use crate::manifest::source::lines;
use crate::manifest::source::tree::{Entry, Node};

impl Editor<'_, '_> {
    /// Takes fields of a block away; says where the last one ended if it was among them.
    pub(super) fn remove_block(
        &mut self,
        node: &Node,
        keys: &BTreeSet<&str>,
        moved: impl Fn(&str) -> bool,
    ) -> Result<usize, Refusal> {
        let mut last = 0;
        let entries = node.entries();
        let mut i = 0_usize;
        while let Some(entry) = entries.get(i) {
            let after = i.saturating_add(1);
            let Some(key) = name(entry).filter(|key| keys.contains(key)) else {
                i = after;
                continue;
            };
            let start = entry.key.place.byte;
            let text = self.source.text;
            if lines::before(text, start).trim().is_empty() {
                let start = match moved(key) {
                    true => self.above(entry),
                    false => lines::start(text, start),
                };
                last = self.reach(entry);
                self.splice(start..last, "");
            } else {
                // The first field of an item stands after its dash, and so does the next one then.
                let is_removed = |entry: &&Entry| name(entry).is_some_and(|key| keys.contains(key));
                let rest = entries.get(after..).unwrap_or_default();
                let skipped = rest.iter().take_while(is_removed).count();
                let Some(next) = rest.get(skipped) else {
                    return Err(refuse(entry.key.place, "nothing would be left here", PLAIN));
                };
                self.hoist(entry, next);
                self.splice(start..next.key.place.byte, "");
                i = after.saturating_add(skipped);
                continue;
            }
            i = after;
        }
        Ok(last)
    }

    /// Comments above the next field, which gets a dash before it, go above the dash.
    fn hoist(&mut self, entry: &Entry, next: &Entry) {
        let range = self.reach(entry)..next.key.place.byte;
        let line = lines::start(self.text(), entry.key.place.byte);
        let before = lines::before(self.text(), entry.key.place.byte);
        let indent: String = before.chars().take_while(|c| c.is_whitespace()).collect();
        let comments = self.source.tree.comments.iter().enumerate();
        let between = comments.filter(|(_, comment)| range.contains(&comment.place.byte));
        let between: Vec<usize> = between.map(|(i, _)| i).collect();
        for i in between {
            let text = format!("{indent}{}\n", self.source.comment(i));
            self.kept.insert(i);
            self.splice(line..line, text);
        }
    }

    /// Takes fields away from between brackets, with a comma each.
    pub(super) fn remove_flow(&mut self, node: &Node, keys: &BTreeSet<&str>) -> usize {
        let is_removed = |entry: &Entry| name(entry).is_some_and(|key| keys.contains(key));
        let entries = node.entries();
        let mut end = None;
        for (i, entry) in entries.iter().enumerate() {
            let next = entries.get(i.saturating_add(1));
            match (is_removed(entry), next) {
                (false, _) => end = Some(entry.value.end),
                (true, Some(next)) if !entries.iter().skip(i).all(is_removed) => {
                    self.splice(entry.key.place.byte..next.key.place.byte, "");
                }
                // All that follow go, and the comma before them.
                (true, _) => {
                    let last = entries
                        .last()
                        .map_or(entry.value.end, |last| last.value.end);
                    self.splice(end.unwrap_or(entry.key.place.byte)..last, "");
                    break;
                }
            }
        }
        0
    }
}
