//! A manifest as text: where each of its values stands, and changes that leave the rest as it was written, its
//! comments too.

mod block;
mod edit;
mod emit;
mod flow;
mod inside;
mod lines;
mod tree;

use serde_json::Value;

use super::path::Path;
use super::yaml::{self, Wrong};
use tree::Tree;

pub(crate) use edit::Change;
pub(crate) use tree::Place;

/// A text and what it says.
#[derive(Debug)]
pub(crate) struct Source<'t> {
    text: &'t str,
    values: Vec<Value>,
    tree: Tree,
}

impl<'t> Source<'t> {
    /// Reads a text as kubectl does, several documents and JSON included. Empty ones are none.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(crate) fn read(text: &'t str) -> Result<Self, Wrong> {
        let values = yaml::read(text)?;
        // What cannot be followed has no places, and is changed nowhere.
        let tree = Tree::read(text)
            .filter(|tree| tree.documents.len() == values.len())
            .unwrap_or_default();
        Ok(Self { text, values, tree })
    }

    /// What the documents say.
    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }

    /// Where a value stands, or as much of its path as there is: for a field its key.
    pub(crate) fn place(&self, document: usize, path: &Path) -> Place {
        let root = self.tree.documents.get(document);
        root.map_or_else(Place::default, |root| self.tree.nearest(root, path))
    }

    /// Where a byte of a string's value stands: of JSON that an annotation holds.
    pub(crate) fn place_inside(
        &self,
        document: usize,
        path: &Path,
        offset: usize,
    ) -> Option<Place> {
        let node = self.tree.value(self.tree.documents.get(document)?, path)?;
        let at = inside::offset(self.text, node, offset)?;
        Some(lines::place(self.text, at))
    }

    /// The same, for a field of that JSON.
    pub(crate) fn place_of_field(
        &self,
        document: usize,
        path: &Path,
        field: &str,
    ) -> Option<Place> {
        let node = self.tree.value(self.tree.documents.get(document)?, path)?;
        let json = path.of(self.values.get(document)?).as_str()?;
        // JSON is YAML.
        let tree = Tree::read(json)?;
        let place = tree.nearest(tree.documents.first()?, &Path::parse(field));
        let at = inside::offset(self.text, node, place.byte)?;
        Some(lines::place(self.text, at))
    }
}

impl Place {
    /// The place of a byte.
    pub(crate) fn of(text: &str, byte: usize) -> Self {
        lines::place(text, byte)
    }
}

/// What to do with a text that is no YAML yet, if it looks like a template of such.
pub(crate) fn template_hint(text: &str) -> Option<String> {
    let hint = "if this is a template of a Helm chart, render it first: helm template CHART | podhook … -f -";
    text.contains("{{").then(|| hint.to_owned())
}
