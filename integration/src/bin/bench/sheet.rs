//! What a part has measured at one place, said as it comes.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::cpu::Used;
use crate::row::{Label, Row};
use crate::samples::Samples;

/// Something that was not measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    pub part: String,
    pub place: String,
    pub what: String,
    /// Why.
    pub reason: String,
}

/// The rows of one part at one place.
#[derive(Debug)]
pub struct Sheet {
    pub part: String,
    pub place: String,
    pub rows: Vec<Row>,
    pub missing: Vec<Missing>,
}

impl Sheet {
    /// An empty one.
    #[must_use]
    pub fn new(part: &str, place: &impl Display) -> Self {
        Self {
            part: part.to_owned(),
            place: place.to_string(),
            rows: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Times, with the CPU time of all of them.
    pub fn times(&mut self, label: &Label, samples: &Samples) {
        let row = Row::of_times((&self.part, &self.place), label, samples);
        self.add(row);
    }

    /// Any values; the CPU time is that of so many.
    pub fn values(
        &mut self,
        label: &Label,
        unit: &str,
        values: &[f64],
        cpu: Option<(Used, usize)>,
    ) {
        let row = Row::of_values((&self.part, &self.place), label, unit, values, cpu);
        self.add(row);
    }

    fn add(&mut self, row: Row) {
        println!("  {}", line(&row));
        self.rows.push(row);
    }

    /// Says loudly what is not measured, and why.
    pub fn missing(&mut self, what: &str, reason: &impl Display) {
        let reason = reason.to_string();
        // The first line says it; what follows are logs.
        let reason = reason.lines().next().unwrap_or_default();
        let reason = reason.replace(char::is_control, " ");
        println!("  NOT MEASURED: {what}: {reason}");
        self.missing.push(Missing {
            part: self.part.clone(),
            place: self.place.clone(),
            what: what.to_owned(),
            reason,
        });
    }
}

/// `StartContainer, podhook: 52.1 ms, p99 60.3, n 25, CPU 33.1 ms`
fn line(row: &Row) -> String {
    let many = match row.at_once {
        0 | 1 => String::new(),
        many => format!(", {many} at once"),
    };
    let cpu = row.cpu.map_or(String::new(), |cpu| {
        format!(", CPU {} ms", short(cpu.all()))
    });
    let spread = match row.n {
        1 => String::new(),
        n => format!(", p99 {}, n {n}", short(row.p99)),
    };
    format!(
        "{}{many}, {}: {} {}{spread}{cpu}",
        row.what,
        row.shim,
        short(row.median),
        row.unit,
    )
}

/// Three digits.
#[must_use]
pub fn short(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_said_on_one_line() {
        let mut sheet = Sheet::new("hot", &"2.4");
        let label = Label::new("exec", "podhook").at_once(10);
        sheet.values(&label, "/s", &[250.0, 260.0, 255.0], None);
        assert_eq!(
            line(&sheet.rows[0]),
            "exec, 10 at once, podhook: 255 /s, p99 260, n 3"
        );
        sheet.missing("exec", &"it broke\nlog");
        assert_eq!(sheet.missing[0].reason, "it broke");
    }
}
