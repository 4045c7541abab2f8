//! Changes of a text that leave the rest of it as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value;

use super::block::Block;
use super::flow::Style;
use super::tree::{Entry, Kind, Lost, Node, Place};
use super::{Source, lines};
use crate::manifest::convert::{self, Op};
use crate::manifest::judgement;
use crate::manifest::path::Path;
use crate::manifest::yaml;

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

    /// Whether the new text says what is asked for, and nothing else.
    fn check(&self, changes: &[Change], text: &str) -> Result<(), Refusal> {
        let mut wanted = self.values.clone();
        for change in changes {
            if let Some(value) = wanted.get_mut(change.document) {
                convert::apply(value, &change.ops);
            }
        }
        let got = yaml::documents(text).unwrap_or_default();
        if wanted.len() != got.len() {
            let document = changes.first().map_or(0, |change| change.document);
            return Err(refuse(
                self.place(document, &Path::default()),
                UNREADABLE,
                PLAIN,
            ));
        }
        for (i, (wanted, got)) in wanted.iter().zip(&got).enumerate() {
            if let Some(path) = difference(&comparable(wanted), &comparable(got), &Path::default())
            {
                let reason =
                    format!("{path} cannot be left as it is, or changed, without the rest");
                return Err(refuse(self.place(i, &path), reason, PLAIN));
            }
        }
        Ok(())
    }
}

const UNREADABLE: &str = "this cannot be changed without making it unreadable";
const PLAIN: &str =
    "write this part in plain YAML: keys on lines of their own, no anchors, no tags";

fn refuse(place: Place, reason: impl Into<String>, hint: &'static str) -> Refusal {
    Refusal {
        place,
        reason: reason.into(),
        hint,
    }
}

/// A value in which the JSON of podhook's annotations is what it says, not how it is written.
fn comparable(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| {
                let json = value.as_str().filter(|_| judgement::is_ours(key));
                let json = json.and_then(|text| serde_json::from_str(text).ok());
                (key.clone(), json.unwrap_or_else(|| comparable(value)))
            })
            .collect(),
        Value::Array(items) => items.iter().map(comparable).collect(),
        value => value.clone(),
    }
}

/// The first place in which two values differ.
fn difference(wanted: &Value, got: &Value, path: &Path) -> Option<Path> {
    match (wanted, got) {
        _ if wanted == got => None,
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter()
                .find_map(|key| match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => difference(a, b, &path.key(key)),
                    _ => Some(path.key(key)),
                })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut items = a.iter().zip(b).enumerate();
            items.find_map(|(i, (a, b))| difference(a, b, &path.index(i)))
        }
        _ => Some(path.clone()),
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

    /// Remembers the comments of a field for where it goes.
    fn carry(&mut self, from: &Path, to: &Path) {
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
    fn above(&self, entry: &Entry) -> usize {
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
    fn reach(&self, entry: &Entry) -> usize {
        let column = entry.key.place.column;
        self.followed(lines::next(self.text(), entry.value.end), |comment| {
            comment.column > column
        })
    }

    /// The end of the lines of such comments that follow, blank lines between them included.
    fn followed(&self, mut end: usize, belongs: impl Fn(Place) -> bool) -> usize {
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

    /// Takes fields of a block away; says where the last one ended if it was among them.
    fn remove_block(
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
    fn remove_flow(&mut self, node: &Node, keys: &BTreeSet<&str>) -> usize {
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

    fn set(
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

    /// The end of a block, comments right below it included.
    fn close(&self, end: usize, column: usize) -> usize {
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
            self.splice(range, format!("{space}{}", super::emit::scalar(value)));
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

fn name(entry: &Entry) -> Option<&str> {
    match &entry.key.kind {
        Kind::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

/// Whether nothing else is on the line of a comment.
fn is_alone(text: &str, comment: Place) -> bool {
    lines::before(text, comment.byte).trim().is_empty()
}
