//! What a goal is of, and whether it is reached.

use super::Report;
use super::select::{Measure, Pick};

const PODHOOK: &str = "podhook";
const ORIGINAL: &str = "containerd-shim-runc-v2";

/// What is to come out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    #[must_use]
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

/// `(of − less) / (over − less)`: without `less` nothing is taken off, without `over` it is no ratio.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    pub what: &'static str,
    of: Pick,
    less: Option<Pick>,
    over: Option<Pick>,
    /// Where what it is compared with was measured, if that is another place.
    over_at: Option<&'static str>,
    /// Of what is no ratio.
    pub unit: &'static str,
    pub bound: Bound,
    /// Where it is a goal; everywhere where none is named.
    places: &'static [&'static str],
}

/// podhook's number by the original's.
pub const fn ratio(
    what: &'static str,
    part: &'static str,
    row: &'static str,
    bound: Bound,
) -> Goal {
    Goal {
        what,
        of: Pick::median(part, row, PODHOOK),
        less: None,
        over: Some(Pick::median(part, row, ORIGINAL)),
        over_at: None,
        unit: "",
        bound,
        places: &[],
    }
}

/// A number of podhook's own, in a unit.
pub const fn own(what: &'static str, of: Pick, unit: &'static str, bound: Bound) -> Goal {
    Goal {
        what,
        of,
        less: None,
        over: None,
        over_at: None,
        unit,
        bound,
        places: &[],
    }
}

/// One number by another.
pub const fn by(what: &'static str, of: Pick, over: Pick, bound: Bound) -> Goal {
    Goal {
        over: Some(over),
        ..own(what, of, "", bound)
    }
}

/// A goal of these places only.
pub const fn at(goal: Goal, places: &'static [&'static str]) -> Goal {
    Goal { places, ..goal }
}

/// Of the CPU time of everything on the node, instead of the time.
pub const fn cpu(goal: Goal) -> Goal {
    let over = match goal.over {
        Some(over) => Some(over.measure(Measure::Cpu)),
        None => None,
    };
    Goal {
        of: goal.of.measure(Measure::Cpu),
        over,
        ..goal
    }
}

/// Compared with what was measured at another place.
pub const fn over_at(goal: Goal, place: &'static str) -> Goal {
    Goal {
        over_at: Some(place),
        ..goal
    }
}

/// With this taken off first.
pub const fn less(goal: Goal, less: Pick) -> Goal {
    Goal {
        less: Some(less),
        ..goal
    }
}

impl Goal {
    /// Whether it is one at this place.
    #[must_use]
    pub fn is_of(&self, place: &str) -> bool {
        self.places.is_empty() || self.places.contains(&place)
    }

    /// What came out there; nothing where a part of it was not measured.
    #[must_use]
    pub fn value(&self, report: &Report, place: &str) -> Option<f64> {
        let of = self.of.at(report, place)?;
        let less = match self.less {
            Some(less) => less.at(report, place)?,
            None => 0.0,
        };
        let value = match self.over {
            Some(over) => {
                let over = over.at(report, self.over_at.unwrap_or(place))?;
                (of - less) / (over - less)
            }
            None => of - less,
        };
        value.is_finite().then_some(value)
    }
}
