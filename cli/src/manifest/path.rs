//! Where a value stands in a document.

use std::fmt;

use serde_json::Value;

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// The way from a document's root to a value. Shown as `spec.containers[0].lifecycle`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

impl Path {
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// This path, and then the other.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).cloned().collect())
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Reads what [`fmt::Display`] writes: `[…]` is an index where it is a number.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((inside, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
                steps.push(match inside.parse() {
                    Ok(index) => Step::Index(index),
                    Err(_) => Step::Key(inside.to_owned()),
                });
                rest = after;
                continue;
            }
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest
                .char_indices()
                .skip(1)
                .find(|(_, c)| ['.', '['].contains(c))
                .map_or(rest.len(), |(at, _)| at);
            let (name, after) = rest.split_at(end);
            if name.is_empty() {
                break;
            }
            steps.push(Step::Key(name.to_owned()));
            rest = after;
        }
        Self(steps)
    }

    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The last step, if it is a key, and the way to what holds it.
    #[must_use]
    pub fn split_key(&self) -> Option<(Self, &str)> {
        match self.0.split_last()? {
            (Step::Key(key), before) => Some((Self(before.to_vec()), key)),
            (Step::Index(_), _) => None,
        }
    }

    /// The value there; null where there is none.
    #[must_use]
    pub fn of<'v>(&self, value: &'v Value) -> &'v Value {
        const NULL: &Value = &Value::Null;
        self.0
            .iter()
            .try_fold(value, |value, step| match step {
                Step::Key(key) => value.get(key),
                Step::Index(index) => value.get(index),
            })
            .unwrap_or(NULL)
    }

    /// As a JSON pointer (RFC 6901).
    #[must_use]
    pub fn pointer(&self) -> String {
        let part = |step: &Step| match step {
            Step::Key(key) => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => format!("/{index}"),
        };
        self.0.iter().map(part).collect()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |key: &str| {
            key.chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if i == 0 => f.write_str(key)?,
                Step::Key(key) if plain(key) => write!(f, ".{key}")?,
                Step::Key(key) => write!(f, "[{key}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_reads_as_it_is_shown() {
        for text in [
            "",
            "spec",
            "spec.containers[0].lifecycle.preStop",
            "items[3].metadata.annotations[lifecycle.podhook.dev/web]",
        ] {
            assert_eq!(Path::parse(text).to_string(), text);
        }
        assert_eq!(Path::parse(".a.").to_string(), "a");
        assert_eq!(
            Path::parse("a[").to_string(),
            "a[[]",
            "no path of ours, and no panic"
        );
    }

    #[test]
    fn it_finds_a_value_and_points_to_it() {
        let value = json!({"a": [{"b/c": 1}]});
        let path = Path::default().key("a").index(0).key("b/c");
        assert_eq!(*path.of(&value), json!(1));
        assert_eq!(path.pointer(), "/a/0/b~1c");
        assert_eq!(value.pointer(&path.pointer()), Some(&json!(1)));
        assert!(path.key("d").of(&value).is_null());
    }
}
