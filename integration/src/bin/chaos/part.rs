//! What a round is about: a phase and a victim, of a container's life or of a pod's.

use std::fmt;

use podhook_integration::Place;
use podhook_integration::chaos::{self, Phase, Victim, pods};
use podhook_integration::shim::ShimKind;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Container(Phase, Victim),
    /// Of a pod without a pause container.
    Pod(pods::Phase, pods::Victim),
}

impl Part {
    /// Those there are at a place.
    pub fn all(place: Place) -> Vec<Self> {
        if place.shim == ShimKind::Pauseless {
            let pairs = pods::pairs().into_iter();
            return pairs
                .map(|(phase, victim)| Self::Pod(phase, victim))
                .collect();
        }
        let pairs = chaos::pairs(place.shim.is_podhook()).into_iter();
        pairs
            .map(|(phase, victim)| Self::Container(phase, victim))
            .collect()
    }

    /// The one that `PHASE/VICTIM` names.
    pub fn named(word: &str) -> Option<Self> {
        let all = pods::pairs()
            .into_iter()
            .map(|(phase, victim)| Self::Pod(phase, victim));
        let containers = [true, false].map(chaos::pairs).into_iter().flatten();
        let mut all = all.chain(containers.map(|(phase, victim)| Self::Container(phase, victim)));
        all.find(|part| part.to_string() == word)
    }

    pub fn phase(self) -> &'static str {
        match self {
            Self::Container(phase, _) => phase.name(),
            Self::Pod(phase, _) => phase.name(),
        }
    }

    pub fn victim(self) -> &'static str {
        match self {
            Self::Container(_, victim) => victim.name(),
            Self::Pod(_, victim) => victim.name(),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.phase(), self.victim())
    }
}
