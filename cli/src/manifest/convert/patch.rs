//! What changes in an object, field by field.

use serde_json::{Map, Value, json};

use crate::manifest::path::{Path, Step};

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Sets a field, whether it is there or not. What holds it is there.
    Set { path: Path, value: Value },
    /// Takes a field away.
    Remove { path: Path },
}

impl Op {
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Set { path, .. } | Self::Remove { path } => path,
        }
    }

    /// The same, for what holds the object at `at`.
    #[must_use]
    pub fn below(self, at: &Path) -> Self {
        match self {
            Self::Set { path, value } => Self::Set {
                path: at.join(&path),
                value,
            },
            Self::Remove { path } => Self::Remove {
                path: at.join(&path),
            },
        }
    }
}

/// The changes as a JSON patch (RFC 6902), which replaces a field that is there when it adds it.
#[must_use]
pub fn json_patch(ops: &[Op]) -> Value {
    let operation = |op: &Op| match op {
        Op::Set { path, value } => json!({"op": "add", "path": path.pointer(), "value": value}),
        Op::Remove { path } => json!({"op": "remove", "path": path.pointer()}),
    };
    ops.iter().map(operation).collect()
}

/// Makes the changes. What is not there to be changed stays so.
pub fn apply(object: &mut Value, ops: &[Op]) {
    for op in ops {
        let Some((holder, key)) = op.path().split_key() else {
            continue;
        };
        let Some(fields) = fields(object, &holder) else {
            continue;
        };
        match op {
            Op::Set { value, .. } => {
                fields.insert(key.to_owned(), value.clone());
            }
            Op::Remove { .. } => {
                fields.remove(key);
            }
        }
    }
}

fn fields<'v>(object: &'v mut Value, path: &Path) -> Option<&'v mut Map<String, Value>> {
    let holder = path
        .steps()
        .iter()
        .try_fold(object, |value, step| match step {
            Step::Key(key) => value.get_mut(key),
            Step::Index(index) => value.get_mut(index),
        })?;
    holder.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_made_and_written_as_a_patch() {
        let mut object = json!({"a": {"b": 1}, "c": [{"d": 2}]});
        let ops = [
            Op::Set {
                path: Path::parse("a.e"),
                value: json!({"f": 3}),
            },
            Op::Remove {
                path: Path::parse("c[0].d"),
            },
        ];
        apply(&mut object, &ops);
        assert_eq!(object, json!({"a": {"b": 1, "e": {"f": 3}}, "c": [{}]}));
        let patch = json!([
            {"op": "add", "path": "/a/e", "value": {"f": 3}},
            {"op": "remove", "path": "/c/0/d"},
        ]);
        assert_eq!(json_patch(&ops), patch);
    }
}
