//! podhook's times by the original's and the OCI runtime's, measured in turn: they hold on a busy machine where no time does.

use super::Values;
use crate::arguments::{Arguments, Sizes};
use crate::part::Part;
use crate::report::Report;
use crate::spot::Spot;
use crate::{Fallible, at};

/// Of the goals of the report.
pub const GOALS: [&str; 3] = [
    "the shim alone: Create and Start",
    "the shim alone: Kill to Delete",
    "hooks in a loop, of the OCI runtime's exec",
];

/// A median of so many.
const ROUNDS: usize = 9;

/// Measures them.
///
/// # Errors
/// What cannot be measured.
pub fn measure(spot: Spot) -> Fallible<Values> {
    let arguments = Arguments {
        parts: vec![Part::Direct, Part::Loop],
        sizes: Sizes {
            rounds: ROUNDS,
            long: false,
        },
        write: false,
        spots: vec![spot],
    };
    let mut report = Report::default();
    at(spot, &arguments, &mut report)?;
    let place = spot.to_string();
    let value = |what: &&str| {
        let value = report.goal(what, &place);
        Ok((
            what.to_string(),
            value.ok_or_else(|| format!("{what}: not measured"))?,
        ))
    };
    GOALS.iter().map(value).collect()
}
