//! Where a test runs: a containerd generation, a shim, an OCI runtime.

use std::fmt;

use crate::driver;
use crate::generation::{Generation, OciRuntime};
use crate::shim::ShimKind;

/// One combination of the matrix, written `1.6/podhook` or `1.6/podhook+crun`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The containerd.
    pub generation: Generation,
    /// The shim.
    pub shim: ShimKind,
    /// The OCI runtime the shim calls.
    pub runtime: OciRuntime,
}

impl Place {
    /// Every combination.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for generation in Generation::ALL {
            for runtime in OciRuntime::ALL {
                for shim in ShimKind::ALL {
                    all.push(Self {
                        generation,
                        shim,
                        runtime,
                    });
                }
            }
        }
        all
    }

    /// The combination a word names: `GENERATION/SHIM` with runc, `GENERATION/SHIM+crun`.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let (generation, rest) = word.split_once('/')?;
        let (shim, runtime) = rest.split_once('+').unwrap_or((rest, "runc"));
        Some(Self {
            generation: Generation::named(generation)?,
            shim: ShimKind::named(shim)?,
            runtime: OciRuntime::named(runtime)?,
        })
    }

    /// Whether podhook takes the name of containerd-shim-runc-v2 in containerd's PATH: 1.6 reads `runtime_path`
    /// and makes no use of it, and ctr gives options to that runtime only.
    #[must_use]
    pub fn stands_in(self) -> bool {
        let by_name = self.generation == Generation::V1_6 || driver::has_options();
        by_name && self.shim == ShimKind::Podhook
    }

    /// The shim and, where it is not runc, the OCI runtime: `podhook+crun`.
    #[must_use]
    pub fn programs(self) -> String {
        match self.runtime {
            OciRuntime::Runc => self.shim.to_string(),
            OciRuntime::Crun => format!("{}+crun", self.shim),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.generation, self.programs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_generation_shim_and_oci_runtime() {
        for place in Place::all() {
            assert_eq!(Place::named(&place.to_string()), Some(place));
        }
        assert_eq!(
            Place::named("2.1.9/podhook"),
            Some(Place {
                generation: Generation::V2,
                shim: ShimKind::Podhook,
                runtime: OciRuntime::Runc
            })
        );
    }

    #[test]
    fn an_unknown_word_names_nothing() {
        for word in ["", "podhook", "1.5/runc", "1.6/crun", "1.6/podhook+youki"] {
            assert_eq!(Place::named(word), None, "{word}");
        }
    }
}
