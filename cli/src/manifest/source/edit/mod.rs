//! Changes of a text that leave the rest of it as it is.

mod comments;
mod insert;
mod remove;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::tree::{Entry, Kind, Lost, Node, Place};
use super::{Source, lines};
use crate::manifest::convert::Op;
use crate::manifest::path::Path;

/// What changes in a document.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) document: usize,
    pub(crate) ops: Vec<Op>,
    /// From where to where something goes, and its comments with it.
    pub(crate) moves: Vec<(Path, Path)>,
}

/// The text with the changes.
#[derive(Debug)]
pub(crate) struct Edited {
    pub(crate) text: String,
    /// The comments that had no place any more.
    pub(crate) lost: Vec<(Place, String)>,
}

/// Why a text cannot be changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) place: Place,
    pub(crate) reason: String,
    pub(crate) hint: &'static str,
}

/// A part of the text, and what stands there instead.
struct Splice {
    range: Range<usize>,
    text: String,
}

struct Editor<'s, 't> {
    source: &'s Source<'t>,
    document: usize,
    root: &'s Node,
    is_json: bool,
    splices: Vec<Splice>,
    /// The comments that go elsewhere, by where they go.
    carried: BTreeMap<Path, Vec<usize>>,
    /// The comments that have a place in the new text.
    kept: BTreeSet<usize>,
}

const WRITE_OUT: &str = "write it out there";

impl Source<'_> {
    /// Makes changes. What they do not touch stays byte for byte.
    ///
    /// # Errors
    /// Where a change of the text would do more, or less, than what is asked for.
    pub(crate) fn edit(&self, changes: &[Change]) -> Result<Edited, Refusal> {
        let mut splices = Vec::new();
        let mut kept = BTreeSet::new();
        for change in changes {
            let Some(root) = self.tree.documents.get(change.document) else {
                return Err(refuse(
                    Place::default(),
                    "this text cannot be followed",
                    PLAIN,
                ));
            };
            let mut editor = Editor {
                source: self,
                document: change.document,
                root,
                is_json: root.entries().first().is_some_and(is_quoted) && root.is_flow(),
                splices: Vec::new(),
                carried: BTreeMap::new(),
                kept: BTreeSet::new(),
            };
            editor.change(change)?;
            splices.append(&mut editor.splices);
            kept.append(&mut editor.kept);
        }
        self.check_anchors(&splices)?;
        let text = self.spliced(&mut splices);
        self.check(changes, &text)?;
        let is_gone = |(i, place): &(usize, Place)| {
            !kept.contains(i)
                && splices
                    .iter()
                    .any(|splice| splice.range.contains(&place.byte))
        };
        let comments = self.tree.comments.iter().map(|comment| comment.place);
        let lost = comments.enumerate().filter(is_gone);
        let lost = lost.map(|(i, place)| (place, self.comment(i).to_owned()));
        Ok(Edited {
            text,
            lost: lost.collect(),
        })
    }

    fn comment(&self, i: usize) -> &str {
        let comment = self.tree.comments.get(i);
        comment
            .and_then(|comment| self.text.get(comment.place.byte..comment.end))
            .map_or("", str::trim_end)
    }

    /// A value that is written once for several may go only with all of them.
    fn check_anchors(&self, splices: &[Splice]) -> Result<(), Refusal> {
        let is_gone = |place: &Place| splices.iter().any(|s| s.range.contains(&place.byte));
        for anchor in self
            .tree
            .anchors
            .iter()
            .filter(|anchor| is_gone(&anchor.place))
        {
            if let Some(other) = anchor.uses.iter().find(|place| !is_gone(place)) {
                let reason = format!("&{} is used elsewhere, in line {}", anchor.name, other.line);
                return Err(refuse(anchor.place, reason, WRITE_OUT));
            }
        }
        Ok(())
    }

    fn spliced(&self, splices: &mut [Splice]) -> String {
        // Where nothing is taken away comes first.
        splices.sort_by_key(|splice| (splice.range.start, !splice.range.is_empty()));
        let ending = lines::ending(self.text);
        let mut out = String::with_capacity(self.text.len().saturating_mul(2));
        let mut at = 0;
        for splice in splices.iter() {
            out.push_str(self.text.get(at..splice.range.start).unwrap_or_default());
            out.push_str(&splice.text.replace('\n', ending));
            at = at.max(splice.range.end);
        }
        out.push_str(self.text.get(at..).unwrap_or_default());
        out
    }
}

const PLAIN: &str =
    "write this part in plain YAML: keys on lines of their own, no anchors, no tags";

fn refuse(place: Place, reason: impl Into<String>, hint: &'static str) -> Refusal {
    Refusal {
        place,
        reason: reason.into(),
        hint,
    }
}

fn is_quoted(entry: &Entry) -> bool {
    matches!(
        entry.key.kind,
        Kind::Scalar {
            style: granit_parser::ScalarStyle::DoubleQuoted,
            ..
        }
    )
}

impl<'s, 't> Editor<'s, 't> {
    fn change(&mut self, change: &Change) -> Result<(), Refusal> {
        let mut removed: BTreeMap<Path, BTreeSet<&str>> = BTreeMap::new();
        for op in &change.ops {
            if let (Op::Remove { .. }, Some((holder, key))) = (op, op.path().split_key()) {
                removed.entry(holder).or_default().insert(key);
            }
        }
        for (from, to) in &change.moves {
            self.carry(from, to);
        }
        let mut ends = BTreeMap::new();
        for (holder, keys) in &removed {
            let (node, _) = self.own(holder)?;
            if let Some(key) = keys.iter().find(|key| node.entry(key).is_none()) {
                self.own(&holder.key(key))?;
            }
            let moved = |key: &str| {
                change
                    .moves
                    .iter()
                    .any(|(from, _)| *from == holder.key(key))
            };
            let end = match node.is_flow() {
                true => self.remove_flow(node, keys),
                false => self.remove_block(node, keys, moved)?,
            };
            ends.insert(holder.clone(), end);
        }
        for op in &change.ops {
            if let (Op::Set { path, value }, Some((holder, key))) = (op, op.path().split_key()) {
                let end = ends.get(&holder).copied().unwrap_or_default();
                self.set(path, &holder, key, value, end)?;
            }
        }
        Ok(())
    }

    fn text(&self) -> &'t str {
        self.source.text
    }

    /// What holds a field, in its own text.
    fn own(&self, path: &Path) -> Result<(&'s Node, Option<&'s Node>), Refusal> {
        let source = self.source;
        source.tree.own(self.root, path).map_err(|lost| match lost {
            Lost::Shared(place) => refuse(
                place,
                format!("{path} is written elsewhere, and this refers to it"),
                WRITE_OUT,
            ),
            Lost::Missing => refuse(
                self.source.place(self.document, path),
                format!("{path} is not found in the text"),
                PLAIN,
            ),
        })
    }

    fn splice(&mut self, range: Range<usize>, text: impl Into<String>) {
        let text = text.into();
        self.splices.push(Splice { range, text });
    }
}

fn name(entry: &Entry) -> Option<&str> {
    match &entry.key.kind {
        Kind::Scalar { text, .. } => Some(text),
        _ => None,
    }
}
