//! Whether a new text says what it is meant to.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Change, PLAIN, Refusal, refuse};
use crate::manifest::path::Path;
use crate::manifest::source::Source;
use crate::manifest::{convert, judgement, yaml};

impl Source<'_> {
    /// Whether the new text says what is asked for, and nothing else.
    pub(super) fn check(&self, changes: &[Change], text: &str) -> Result<(), Refusal> {
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
                let mut ops = changes
                    .iter()
                    .filter(|change| change.document == i)
                    .flat_map(|change| &change.ops);
                let reason = match ops.any(|op| path.steps().starts_with(op.path().steps())) {
                    true => format!("{path} cannot be changed as it is written"),
                    false => format!("{path} would change as well"),
                };
                return Err(refuse(self.place(i, &path), reason, PLAIN));
            }
        }
        Ok(())
    }
}

const UNREADABLE: &str = "this cannot be changed without making it unreadable";

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
