//! The Kubernetes a node can be of.

use std::fmt;
use std::path::PathBuf;

use super::Error;
use crate::generation::upstream;

/// A Kubernetes whose programs `integration/upstream/build` builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1_36,
    V1_37,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 2] = [Self::V1_36, Self::V1_37];

    /// The version a word names: `1.37`, or any longer version of it.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let is = |version: &Self| {
            let minor = version.to_string();
            word == minor || word.starts_with(&format!("{minor}."))
        };
        Self::ALL.into_iter().find(is)
    }

    /// One of its programs.
    ///
    /// # Errors
    /// When it is not built: says what to run.
    pub fn program(self, name: &str) -> Result<PathBuf, Error> {
        Ok(upstream(&format!("kubernetes-{self}"), name)?)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_36 => "1.36",
            Self::V1_37 => "1.37",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_by_its_minor_or_by_its_patch() {
        assert_eq!(Version::named("1.36"), Some(Version::V1_36));
        assert_eq!(Version::named("1.37.2"), Some(Version::V1_37));
        for word in ["", "1.3", "1.370", "2", "podhook"] {
            assert_eq!(Version::named(word), None, "{word}");
        }
    }
}
