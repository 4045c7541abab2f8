//! One thing that was measured, as it stands in docs/evidence/bench.json.

use serde::{Deserialize, Serialize};

use crate::cpu::Used;
use crate::samples::{Samples, ms, quantile};

/// What one in the container itself, or no shim at all, has for its name.
pub const NO_SHIM: &str = "–";

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub part: String,
    pub what: String,
    /// As it is chosen: `2.4`, `2.4+crun`.
    pub place: String,
    pub shim: String,
    /// How many of it were under way at a time.
    pub at_once: usize,
    /// How many there were.
    pub n: usize,
    /// Of the values: `ms`, `/s`, `kB`.
    pub unit: String,
    pub median: f64,
    pub p95: f64,
    pub p99: f64,
    pub min: f64,
    pub max: f64,
    /// CPU time of one, by account, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
}

/// CPU time in milliseconds, by who had it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// This program, and what it runs itself.
    pub client: f64,
    pub containerd: f64,
    /// The shims and the OCI runtime.
    pub shim: f64,
    /// The processes of the containers.
    pub container: f64,
}

impl Cpu {
    /// Of everything on the node.
    #[must_use]
    pub fn all(self) -> f64 {
        self.client + self.containerd + self.shim + self.container
    }

    fn each(used: Used, count: usize) -> Self {
        let each = |time| rounded(ms(time) / count.max(1) as f64);
        Self {
            client: each(used.client),
            containerd: each(used.containerd),
            shim: each(used.shim),
            container: each(used.container),
        }
    }
}

/// What a row is told apart by, but for where it was measured.
#[derive(Debug, Clone)]
pub struct Label {
    pub what: String,
    pub shim: &'static str,
    pub at_once: usize,
}

impl Label {
    /// One at a time.
    #[must_use]
    pub fn new(what: &str, shim: &'static str) -> Self {
        Self {
            what: what.to_owned(),
            shim,
            at_once: 1,
        }
    }

    /// So many at a time.
    #[must_use]
    pub fn at_once(self, at_once: usize) -> Self {
        Self { at_once, ..self }
    }
}

impl Row {
    /// The row of any values; `each` is for how many of it the CPU time was.
    #[must_use]
    pub fn of_values(
        (part, place): (&str, &str),
        label: &Label,
        unit: &str,
        values: &[f64],
        cpu: Option<(Used, usize)>,
    ) -> Self {
        let at = |share| rounded(quantile(values, share));
        Self {
            part: part.to_owned(),
            what: label.what.clone(),
            place: place.to_owned(),
            shim: label.shim.to_owned(),
            at_once: label.at_once,
            n: values.len(),
            unit: unit.to_owned(),
            median: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            min: at(0.0),
            max: at(1.0),
            cpu: cpu.map(|(used, count)| Cpu::each(used, count)),
        }
    }

    /// The row of times.
    #[must_use]
    pub fn of_times(place: (&str, &str), label: &Label, samples: &Samples) -> Self {
        let cpu = samples.cpu.map(|used| (used, samples.wall.len()));
        Self::of_values(place, label, "ms", &samples.millis(), cpu)
    }
}

/// As exact as anybody reads it.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_row_reads_as_it_was_written() {
        let mut samples = Samples::default();
        for millis in 1..=20 {
            samples.push(Duration::from_millis(millis));
        }
        samples.spent(Used {
            client: Duration::from_millis(40),
            shim: Duration::from_millis(10),
            ..Used::default()
        });
        let label = Label::new("Start", "podhook").at_once(8);
        let row = Row::of_times(("direct", "2.4"), &label, &samples);
        assert_eq!(
            (row.n, row.median, row.p95, row.max),
            (20, 10.0, 19.0, 20.0)
        );
        let cpu = row.cpu.expect("CPU time");
        assert_eq!((cpu.client, cpu.shim, cpu.all()), (2.0, 0.5, 2.5));
        let text = serde_json::to_string(&row).expect("JSON");
        assert_eq!(serde_json::from_str::<Row>(&text).expect("a row"), row);
    }
}
