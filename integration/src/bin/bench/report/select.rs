//! Rows by what they are of, and numbers of them.

use super::Report;
use crate::row::Row;

/// Which number of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    Median,
    P99,
    /// CPU time of everything on the node.
    Cpu,
    /// That of shims and OCI runtime.
    CpuShim,
}

/// A number: of which row, and which.
#[derive(Debug, Clone, Copy)]
pub struct Pick {
    pub part: &'static str,
    pub what: &'static str,
    pub shim: &'static str,
    pub measure: Measure,
    /// None: the fewest.
    pub at_once: Option<usize>,
}

impl Pick {
    #[must_use]
    pub const fn median(part: &'static str, what: &'static str, shim: &'static str) -> Self {
        Self {
            part,
            what,
            shim,
            measure: Measure::Median,
            at_once: None,
        }
    }

    #[must_use]
    pub const fn at_once(self, number: usize) -> Self {
        Self {
            at_once: Some(number),
            ..self
        }
    }

    #[must_use]
    pub const fn measure(self, measure: Measure) -> Self {
        Self { measure, ..self }
    }

    /// It at this place, where it was measured: of several the first, which is the one with the fewest at once.
    #[must_use]
    pub fn at(self, report: &Report, place: &str) -> Option<f64> {
        let row = report.rows.iter().find(|row| {
            (&*row.part, &*row.what, &*row.shim, &*row.place)
                == (self.part, self.what, self.shim, place)
                && self.at_once.is_none_or(|number| row.at_once == number)
        })?;
        self.measure.of(row)
    }
}

impl Measure {
    #[must_use]
    pub fn of(self, row: &Row) -> Option<f64> {
        match self {
            Self::Median => Some(row.median),
            Self::P99 => Some(row.p99),
            Self::Cpu => row.cpu.map(|cpu| cpu.all()),
            Self::CpuShim => row.cpu.map(|cpu| cpu.shim),
        }
    }
}
