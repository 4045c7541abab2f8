//! Where it is measured: a containerd and an OCI runtime, with every shim.

use std::fmt;

use podhook_integration::{Generation, OciRuntime, Place, ShimKind};
use serde::{Deserialize, Serialize};

/// Those of `make bench`.
pub const USUAL: [&str; 4] = ["1.6", "2.3", "2.4", "2.4+crun"];

/// A place without its shim, as `2.4`, `2.4+crun`, `2.3+runc-1.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub generation: Generation,
    pub runtime: OciRuntime,
}

/// Its versions, for the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Versions {
    /// As it is chosen.
    pub place: String,
    /// As `2.4.2`.
    pub containerd: String,
    /// As `runc 1.5.0`.
    pub runtime: String,
}

impl Spot {
    /// The one of that name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let (generation, runtime) = word.split_once('+').unwrap_or((word, "runc"));
        let place = Place::named(&format!("{generation}/runc+{runtime}"))?;
        Some(Self {
            generation: place.generation,
            runtime: place.runtime,
        })
    }

    /// The place for a containerd that has all shims: under the original's name nothing stands in.
    #[must_use]
    pub fn place(self) -> Place {
        Place {
            generation: self.generation,
            shim: ShimKind::Runc,
            runtime: self.runtime,
        }
    }

    #[must_use]
    pub fn versions(self) -> Versions {
        let version = self.generation.oci_version(self.runtime);
        let version = version.unwrap_or_default();
        Versions {
            place: self.to_string(),
            containerd: self.generation.version().unwrap_or_default(),
            runtime: format!("{} {version}", self.runtime.family()),
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.runtime {
            OciRuntime::Runc => write!(f, "{}", self.generation),
            other => write!(f, "{}+{}", self.generation, other.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_containerd_and_oci_runtime() {
        for word in USUAL {
            assert_eq!(Spot::named(word).expect("a place").to_string(), word);
        }
        let own = Spot::named("2.4+runc-1.5").expect("a place");
        assert_eq!(own.to_string(), "2.4");
        assert_eq!(Spot::named("2.9"), None);
        assert_eq!(Spot::named("2.4/podhook"), None);
    }
}
