//! The places of a text's values, from its parser's events.

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span, StructureStyle, options};

use crate::manifest::path::{Path, Step};

/// A place in a text; line and column from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(super) byte: usize,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            line: 1,
            column: 1,
            byte: 0,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    /// The roots of the documents that are not empty.
    pub(super) documents: Vec<Node>,
    pub(super) comments: Vec<Comment>,
    pub(super) anchors: Vec<Anchor>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) place: Place,
    /// Where it ends; of a block, where its last value does.
    pub(super) end: usize,
    anchor: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar { text: String, style: ScalarStyle },
    Mapping { is_flow: bool, entries: Vec<Entry> },
    Sequence { items: Vec<Node> },
    Alias(usize),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Node,
    pub(super) value: Node,
}

#[derive(Debug)]
pub(super) struct Comment {
    pub(super) place: Place,
    pub(super) end: usize,
}

/// The definition of an anchor, with what refers to it.
#[derive(Debug)]
pub(super) struct Anchor {
    id: usize,
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) uses: Vec<Place>,
}

/// Why a value cannot be reached by its own text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// It, or what holds it, is written elsewhere: here is the reference.
    Shared(Place),
    Missing,
}

impl Tree {
    /// The tree of a text; none where it cannot be read.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut text = text.to_owned();
        // As many as `yaml` lets pass.
        for _ in 0..=1000 {
            match build(&text) {
                Ok(tree) => return Some(tree),
                // A lone dash in brackets is a string for kubectl. Another letter in its place changes no other.
                Err(Failed::Dash(at)) => {
                    text.get(at..)?.strip_prefix('-')?;
                    text.replace_range(at..at.saturating_add(1), "x");
                }
                Err(Failed::Otherwise) => return None,
            }
        }
        None
    }

    fn target(&self, id: usize) -> Option<&Node> {
        self.documents.iter().find_map(|root| root.anchored(id))
    }

    /// Follows an alias.
    fn resolved<'n>(&'n self, node: &'n Node) -> Option<&'n Node> {
        match node.kind {
            Kind::Alias(id) => self.target(id),
            _ => Some(node),
        }
    }

    /// The entry of a mapping, its own or one that is merged into it.
    fn entry<'n>(&'n self, node: &'n Node, key: &str) -> Option<&'n Entry> {
        let node = self.resolved(node)?;
        node.entry(key).or_else(|| {
            let merged = &node.entry("<<")?.value;
            match &merged.kind {
                Kind::Sequence { items } => items.iter().find_map(|item| self.entry(item, key)),
                _ => self.entry(merged, key),
            }
        })
    }

    /// Where a value stands, or as much of its path as there is.
    pub(super) fn nearest(&self, root: &Node, path: &Path) -> Place {
        let mut place = root.place;
        let mut node = root;
        for step in path.steps() {
            let (next, at) = match step {
                Step::Key(key) => match self.entry(node, key) {
                    Some(entry) => (&entry.value, entry.key.place),
                    None => break,
                },
                Step::Index(index) => match self.item(node, *index) {
                    Some(item) => (item, item.place),
                    None => break,
                },
            };
            (node, place) = (next, at);
        }
        place
    }

    /// The value itself, wherever it is written.
    pub(super) fn value<'n>(&'n self, root: &'n Node, path: &Path) -> Option<&'n Node> {
        let node = path
            .steps()
            .iter()
            .try_fold(root, |node, step| match step {
                Step::Key(key) => Some(&self.entry(node, key)?.value),
                Step::Index(index) => self.item(node, *index),
            })?;
        self.resolved(node)
    }

    fn item<'n>(&'n self, node: &'n Node, index: usize) -> Option<&'n Node> {
        match &self.resolved(node)?.kind {
            Kind::Sequence { items } => items.get(index),
            _ => None,
        }
    }

    /// The value as its own text has it, and the key that it is under.
    ///
    /// # Errors
    /// Where it is written elsewhere, or is not there.
    pub(super) fn own<'n>(
        &'n self,
        root: &'n Node,
        path: &Path,
    ) -> Result<(&'n Node, Option<&'n Node>), Lost> {
        let mut found = (root, None);
        for step in path.steps() {
            let (node, _) = found;
            if let Kind::Alias(_) = node.kind {
                return Err(Lost::Shared(node.place));
            }
            found = match (step, &node.kind) {
                (Step::Key(key), _) => match (node.entry(key), node.entry("<<")) {
                    (Some(entry), _) => (&entry.value, Some(&entry.key)),
                    (None, Some(merge)) if self.entry(node, key).is_some() => {
                        return Err(Lost::Shared(merge.key.place));
                    }
                    _ => return Err(Lost::Missing),
                },
                (Step::Index(index), Kind::Sequence { items }) => {
                    (items.get(*index).ok_or(Lost::Missing)?, None)
                }
                _ => return Err(Lost::Missing),
            };
        }
        match found.0.kind {
            Kind::Alias(_) => Err(Lost::Shared(found.0.place)),
            _ => Ok(found),
        }
    }
}

impl Node {
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Mapping { entries, .. } => entries,
            _ => &[],
        }
    }

    pub(super) fn is_flow(&self) -> bool {
        matches!(self.kind, Kind::Mapping { is_flow: true, .. })
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()
            .iter()
            .find(|entry| matches!(&entry.key.kind, Kind::Scalar { text, .. } if text == key))
    }

    fn anchored(&self, id: usize) -> Option<&Self> {
        if self.anchor == id {
            return Some(self);
        }
        match &self.kind {
            Kind::Mapping { entries, .. } => entries
                .iter()
                .find_map(|entry| entry.key.anchored(id).or_else(|| entry.value.anchored(id))),
            Kind::Sequence { items, .. } => items.iter().find_map(|item| item.anchored(id)),
            Kind::Scalar { .. } | Kind::Alias(_) => None,
        }
    }

    /// Whether nothing is written there.
    pub(super) fn is_nothing(&self) -> bool {
        self.place.byte == self.end
            && matches!(
                &self.kind,
                Kind::Scalar {
                    style: ScalarStyle::Plain,
                    ..
                }
            )
    }

    fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, style: ScalarStyle::Plain }
            if ["", "~", "null", "Null", "NULL"].contains(&text.as_str()))
    }
}

enum Failed {
    /// At a dash that the parser takes for no string.
    Dash(usize),
    Otherwise,
}

type Events<'t> = Vec<(Event<'t>, Span)>;

fn build(text: &str) -> Result<Tree, Failed> {
    let mut tree = Tree::default();
    let options = options! { emit_anchor_events: true, max_buffered_comment_events: 100_000 };
    let mut events: Events<'_> = Vec::new();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| match error.kind() {
            ErrorKind::PlainScalarStartsWithDashFlowIndicator => error
                .marker()
                .byte_offset()
                .map_or(Failed::Otherwise, Failed::Dash),
            _ => Failed::Otherwise,
        })?;
        let (place, end) = around(&span).ok_or(Failed::Otherwise)?;
        match event {
            Event::Comment(..) => tree.comments.push(Comment { place, end }),
            Event::Anchor(id, name) => tree.anchors.push(Anchor {
                id,
                name: name.into_owned(),
                place,
                uses: Vec::new(),
            }),
            event => events.push((event, span)),
        }
    }
    for (event, span) in &events {
        if let (Event::Alias(id), Some((place, _))) = (event, around(span))
            && let Some(anchor) = tree.anchors.iter_mut().find(|anchor| anchor.id == *id)
        {
            anchor.uses.push(place);
        }
    }
    tree.comments.sort_by_key(|comment| comment.place.byte);
    let mut events = events.into_iter();
    while let Some((event, _)) = events.next() {
        if let Event::DocumentStart(..) = event {
            let root = node(text, &mut events).ok_or(Failed::Otherwise)?;
            if !root.is_null() {
                tree.documents.push(root);
            }
        }
    }
    Ok(tree)
}

fn around(span: &Span) -> Option<(Place, usize)> {
    let place = Place {
        line: span.start.line(),
        column: span.start.col().saturating_add(1),
        byte: span.start.byte_offset()?,
    };
    Some((place, span.end.byte_offset()?))
}

/// The next value.
fn node<'t>(text: &str, events: &mut impl Iterator<Item = (Event<'t>, Span)>) -> Option<Node> {
    let first = events.next()?;
    node_from(text, first, events)
}

fn node_from<'t>(
    text: &str,
    (event, span): (Event<'t>, Span),
    events: &mut impl Iterator<Item = (Event<'t>, Span)>,
) -> Option<Node> {
    let (place, end) = around(&span)?;
    let node = |kind, end, anchor| {
        Some(Node {
            kind,
            place,
            end,
            anchor,
        })
    };
    match event {
        Event::Scalar(value, style, anchor, _) => {
            let end = match style {
                ScalarStyle::Literal | ScalarStyle::Folded => block_end(text, place.byte, end),
                _ => end,
            };
            let text = value.into_owned();
            node(Kind::Scalar { text, style }, end, anchor)
        }
        Event::Alias(id) => node(Kind::Alias(id), end, 0),
        Event::SequenceStart(style, anchor, _) => {
            let mut items = Vec::new();
            let end = loop {
                match events.next()? {
                    (Event::SequenceEnd, span) => break span,
                    event => items.push(node_from(text, event, events)?),
                }
            };
            let last = items.last().map(|item| item.end);
            node(
                Kind::Sequence { items },
                end_of(style, &end, last, place)?,
                anchor,
            )
        }
        Event::MappingStart(style, anchor, _) => {
            let mut entries = Vec::new();
            let end = loop {
                match events.next()? {
                    (Event::MappingEnd, span) => break span,
                    event => {
                        let key = node_from(text, event, events)?;
                        let mut value = self::node(text, events)?;
                        if value.is_nothing() {
                            after_colon(text, &key, &mut value);
                        }
                        entries.push(Entry { key, value });
                    }
                }
            };
            let last = entries.last().map(|entry| entry.value.end);
            let is_flow = style == StructureStyle::Flow;
            let kind = Kind::Mapping { is_flow, entries };
            node(kind, end_of(style, &end, last, place)?, anchor)
        }
        _ => None,
    }
}

/// A block has no end of its own in the text.
fn end_of(style: StructureStyle, end: &Span, last: Option<usize>, place: Place) -> Option<usize> {
    match style {
        StructureStyle::Flow => end.end.byte_offset(),
        StructureStyle::Block => Some(last.unwrap_or(place.byte)),
    }
}

/// A value that is not there ends after its colon.
fn after_colon(text: &str, key: &Node, value: &mut Node) {
    let rest = text.get(key.end..).unwrap_or_default();
    let blank = rest.len().saturating_sub(rest.trim_start().len());
    if rest.trim_start().starts_with(':') {
        let at = key.end.saturating_add(blank).saturating_add(1);
        (value.place.byte, value.end) = (at, at);
    }
}

/// The parser takes what follows for a part of a block of text, up to the next token, and a block without any content
/// for a part of that. Blank lines at its end belong to it only with `+`.
fn block_end(text: &str, start: usize, end: usize) -> usize {
    let before = text.get(..start).unwrap_or_default();
    let header = before.trim_end().rsplit('\n').next().unwrap_or_default();
    let indicators = header.rsplit(['|', '>']).next().unwrap_or_default();
    let indicators = indicators.split('#').next().unwrap_or_default();
    let whole = text.get(..end).unwrap_or_default();
    let trimmed = match indicators.contains('+') {
        true => whole.trim_end_matches([' ', '\t']),
        false => whole.trim_end(),
    };
    trimmed.strip_suffix('\n').unwrap_or(trimmed).len()
}
