//! What a program of podhook was built of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Version and commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Build {
    /// Unset of a program that does not say it.
    pub version: Option<String>,
    /// What a release was built of; a build by hand does not know it.
    pub commit: Option<String>,
}

impl Build {
    /// Of this program.
    #[must_use]
    pub fn own() -> Self {
        Self {
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            commit: option_env!("PODHOOK_COMMIT")
                .filter(|commit| !commit.is_empty())
                .map(str::to_owned),
        }
    }

    /// Of what `containerd-shim-podhook-v1 -v` says.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let after = |label: &str| {
            let mut words = text.split_whitespace().skip_while(|word| *word != label);
            words.nth(1).map(str::to_owned)
        };
        Self {
            version: after("Version:"),
            commit: after("Revision:"),
        }
    }

    /// Whether both are known not to be the same.
    #[must_use]
    pub fn differs(&self, other: &Self) -> bool {
        let commits = self.commit.as_ref().zip(other.commit.as_ref());
        self.version != other.version || commits.is_some_and(|(one, other)| one != other)
    }

    /// The lines of `-v`, in the words of the original.
    #[must_use]
    pub fn lines(&self) -> String {
        let line = |label: &str, value: &Option<String>| match value {
            Some(value) => format!("  {label}: {value}\n"),
            None => String::new(),
        };
        line("Version", &self.version) + &line("Revision", &self.commit)
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version.as_deref().unwrap_or("of an unknown version"))?;
        match &self.commit {
            Some(commit) => write!(f, " ({commit})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shim_says_is_read_again() {
        let build = |version: &str, commit: Option<&str>| Build {
            version: Some(version.to_owned()),
            commit: commit.map(str::to_owned),
        };
        for build in [build("0.1.0", Some("abc")), build("0.2.0", None)] {
            let said = format!("containerd-shim-podhook-v1:\n{}", build.lines());
            assert_eq!(Build::parse(&said), build, "{said}");
        }
        assert_eq!(Build::parse("usage: none"), Build::default());
        assert!(build("1", Some("a")).differs(&build("1", Some("b"))));
        assert!(!build("1", Some("a")).differs(&build("1", None)));
        assert!(build("1", None).differs(&build("2", None)));
    }
}
