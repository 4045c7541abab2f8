//! `make bench-check`: what the shim takes, beside what was written down in integration/bench/check.json.

mod callgrind;
mod instructions;
mod ratios;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use podhook_integration::generation::repository;
use serde::{Deserialize, Serialize};

use crate::Fallible;
use crate::spot::Spot;

/// What is measured, and what that gave.
type Values = BTreeMap<String, f64>;

/// Of the optimised shim.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    /// Thousands.
    instructions: Values,
    /// podhook's times by those of others.
    ratios: Values,
}

/// So much more instructions than were written down are a fault, or meant. Two runs differ by less than a hundredth.
const MORE: f64 = 1.15;
/// So much less makes what was written down of no use.
const LESS: f64 = 0.85;
/// Times are measured on busy machines too: only what is far off is a fault.
const SLOWER: f64 = 1.6;

fn written() -> PathBuf {
    repository().join("integration/bench/check.json")
}

fn read() -> Fallible<Figures> {
    Ok(serde_json::from_slice(&fs::read(written())?)?)
}

/// Measures, prints, and compares, or writes down.
///
/// # Errors
/// What takes more than was written down; what cannot be measured.
pub fn check(write: bool) -> Fallible<()> {
    let spot = Spot::named("2.4").ok_or("no containerd 2.4")?;
    let now = Figures {
        instructions: instructions::count(spot)?,
        ratios: ratios::measure(spot)?,
    };
    if write {
        fs::write(written(), serde_json::to_string_pretty(&now)? + "\n")?;
    }
    let before = read()?;
    let counts = compared(&now.instructions, &before.instructions, LESS..=MORE);
    let ratios = compared(&now.ratios, &before.ratios, 0.0..=SLOWER);
    println!(
        "\nthousands of instructions, and ratios: now, as written down, and the one by the other"
    );
    for row in counts.iter().chain(&ratios) {
        println!("  {row}");
    }
    match counts.iter().chain(&ratios).any(Row::is_fault) {
        true => Err("not as integration/bench/check.json has it; where that is meant: make bench-check WRITE=1".into()),
        false => Ok(()),
    }
}

/// A value, beside what was written down.
#[derive(Debug, PartialEq)]
struct Row {
    what: String,
    now: f64,
    before: Option<f64>,
    may_be: std::ops::RangeInclusive<f64>,
}

impl Row {
    fn is_fault(&self) -> bool {
        self.before
            .is_none_or(|before| !self.may_be.contains(&(self.now / before)))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:45} {:9.3}", self.what, self.now)?;
        match self.before {
            Some(before) => write!(f, " {before:9.3} × {:.2}", self.now / before),
            None => write!(f, "         – not written down"),
        }?;
        match self.is_fault() {
            true => write!(f, "   too far from it"),
            false => Ok(()),
        }
    }
}

fn compared(now: &Values, before: &Values, may_be: std::ops::RangeInclusive<f64>) -> Vec<Row> {
    let row = |(what, now): (&String, &f64)| Row {
        what: what.clone(),
        now: *now,
        before: before.get(what).copied(),
        may_be: may_be.clone(),
    };
    now.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_a_sixth_more_or_less_is_a_fault_and_what_nobody_wrote_down_too() {
        let of = |value| Values::from([("exec".to_owned(), value)]);
        let fault = |now, before: Values| compared(&of(now), &before, LESS..=MORE)[0].is_fault();
        assert!(!fault(1000.0, of(1000.0)));
        assert!(!fault(1140.0, of(1000.0)));
        assert!(fault(1170.0, of(1000.0)));
        assert!(fault(830.0, of(1000.0)));
        assert!(fault(1000.0, Values::new()));
    }

    #[test]
    fn what_is_written_down_is_what_is_measured() {
        let figures = read().unwrap();
        let names: Vec<_> = figures.instructions.keys().map(String::as_str).collect();
        let counted = [
            instructions::LIFE,
            instructions::EXEC,
            instructions::START_VERB,
        ];
        assert_eq!(names, counted);
        for what in ratios::GOALS {
            assert!(figures.ratios.contains_key(what), "{what}");
        }
    }
}
