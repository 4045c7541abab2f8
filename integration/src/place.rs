//! Where a test runs: a containerd generation, a shim, an OCI runtime.

use std::fmt;

use crate::driver;
use crate::generation::{Generation, OciRuntime};
use crate::shim::ShimKind;

/// One combination of the matrix, written `1.6/podhook`, `1.6/podhook+crun` or
/// `2.4/podhook+runc-1.1`.
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
    /// Every combination: each containerd with its own runc and with crun, and upstream's with every other runc.
    /// How podhook is configured has no part in what a runc of another version does: there it is once.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for generation in Generation::ALL {
            for runtime in OciRuntime::ALL {
                let usual = matches!(runtime, OciRuntime::Runc | OciRuntime::Crun);
                if !usual
                    && (generation < Generation::V2_3 || generation.own_runc() == Some(runtime))
                {
                    continue;
                }
                let shims = ShimKind::ALL.into_iter();
                let shims = shims.filter(|shim| shim.is_for(generation));
                let shims = shims
                    .filter(|shim| usual || matches!(shim, ShimKind::Runc | ShimKind::Podhook));
                all.extend(shims.map(|shim| Self {
                    generation,
                    shim,
                    runtime,
                }));
            }
        }
        all
    }

    /// The combination a word names: `GENERATION/SHIM` with the generation's own runc, `GENERATION/SHIM+crun`,
    /// `GENERATION/SHIM+runc-1.4`.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let (generation, rest) = word.split_once('/')?;
        let (shim, runtime) = rest.split_once('+').unwrap_or((rest, "runc"));
        let generation = Generation::named(generation)?;
        let runtime = OciRuntime::named(runtime)?;
        let shim = ShimKind::named(shim).filter(|shim| shim.is_for(generation))?;
        Some(Self {
            generation,
            shim,
            runtime: if generation.own_runc() == Some(runtime) {
                OciRuntime::Runc
            } else {
                runtime
            },
        })
    }

    /// The runc, by its version, or crun.
    #[must_use]
    pub fn oci(self) -> OciRuntime {
        match self.runtime {
            OciRuntime::Runc => self.generation.own_runc().unwrap_or(OciRuntime::Runc),
            runtime => runtime,
        }
    }

    /// What its programs are from: Debian packages, as `containerd 1.6.20~ds1-1+deb12u3`, or upstream's.
    #[must_use]
    pub fn packages(self) -> Vec<String> {
        let mut all = self.generation.packages();
        if matches!(self.oci(), OciRuntime::Runc1_4 | OciRuntime::Runc1_5) {
            let version = self.generation.oci_version(self.runtime);
            all.push(format!("runc {}, upstream's", version.unwrap_or_default()));
        }
        all
    }

    /// Whether podhook takes the name of containerd-shim-runc-v2 in containerd's PATH: 1.6 reads `runtime_path`
    /// and makes no use of it, and ctr gives options to that runtime only.
    #[must_use]
    pub fn stands_in(self) -> bool {
        let by_name = self.generation == Generation::V1_6 || driver::has_options();
        by_name && self.shim == ShimKind::Podhook
    }

    /// The shim and, where it is not the generation's own runc, the OCI runtime: `podhook+crun`.
    #[must_use]
    pub fn programs(self) -> String {
        match self.runtime {
            OciRuntime::Runc => self.shim.to_string(),
            other => format!("{}+{}", self.shim, other.name()),
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
        let own = Place::named("2.4.2/podhook+runc-1.5").expect("a place");
        assert_eq!(own.to_string(), "2.4/podhook");
        let other = Place::named("2.4/runc+runc-1.1").expect("a place");
        assert_eq!(other.to_string(), "2.4/runc+runc-1.1");
        assert_eq!(Place::named("2.9/podhook"), None);
        assert_eq!(Place::named("2.4/podhook+runc-1.2"), None);
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
        let unknown = ["", "podhook", "1.5/runc", "1.6/crun", "1.6/podhook+youki"];
        for word in unknown.into_iter().chain(["2/podhook-pauseless"]) {
            assert_eq!(Place::named(word), None, "{word}");
        }
    }
}
