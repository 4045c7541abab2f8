//! Everything that was measured: docs/evidence/bench.json, and the documents that are made of it.

mod goal;
mod goals;
mod page;
mod pictures;
mod select;

use std::fs;
use std::path::PathBuf;

use podhook_integration::generation::repository;
use serde::{Deserialize, Serialize};

use crate::Fallible;
use crate::row::Row;
use crate::sheet::{Missing, Sheet};
use crate::spot::Versions;

/// As it is saved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it was taken on, line by line.
    pub machine: Vec<String>,
    pub places: Vec<Versions>,
    pub rows: Vec<Row>,
    pub missing: Vec<Missing>,
}

fn saved() -> PathBuf {
    repository().join("docs/evidence/bench.json")
}

impl Report {
    /// What was saved last; an empty one where nothing was.
    ///
    /// # Errors
    /// A file that is none of it.
    pub fn load() -> Fallible<Self> {
        match fs::read(saved()) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(_) => Ok(Self::default()),
        }
    }

    /// Takes a part as it was measured now, in the place of what was known of it there.
    pub fn take(&mut self, sheet: Sheet) {
        let Sheet {
            part,
            place,
            rows,
            missing,
        } = sheet;
        self.rows
            .retain(|row| (&row.part, &row.place) != (&part, &place));
        self.missing
            .retain(|one| (&one.part, &one.place) != (&part, &place));
        self.rows.extend(rows);
        self.missing.extend(missing);
    }

    /// The versions of a place.
    pub fn visited(&mut self, versions: Versions) {
        self.places.retain(|place| place.place != versions.place);
        self.places.push(versions);
        self.places
            .sort_by(|one, other| one.place.cmp(&other.place));
    }

    /// Saves it, a row a line, so that a change is seen as one.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self) -> Fallible<()> {
        Ok(fs::write(saved(), self.text()?)?)
    }

    fn text(&self) -> Fallible<String> {
        let lines = |values: Vec<String>| format!("[\n{}\n]", values.join(",\n"));
        let json = |rows: &[Row]| -> Fallible<Vec<String>> {
            rows.iter()
                .map(|row| Ok(serde_json::to_string(row)?))
                .collect()
        };
        let missing: Vec<_> = self
            .missing
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<_, _>>()?;
        Ok(format!(
            "{{\"machine\": {},\n\"places\": {},\n\"missing\": {},\n\"rows\": {}}}\n",
            serde_json::to_string(&self.machine)?,
            serde_json::to_string(&self.places)?,
            lines(missing),
            lines(json(&self.rows)?),
        ))
    }

    /// Writes every document of it.
    ///
    /// # Errors
    /// Where one cannot be written.
    pub fn write(&self) -> Fallible<()> {
        pictures::write(self)?;
        page::write(self)
    }

    /// What came out of a goal at a place.
    #[must_use]
    pub fn goal(&self, what: &str, place: &str) -> Option<f64> {
        let goal = goals::GOALS.iter().find(|goal| goal.what == what)?;
        goal.value(self, place)
    }

    /// What the goals make of it, for the terminal.
    pub fn print_goals(&self) {
        println!("\n{}", page::goals(self));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Label;

    pub(super) fn sheet(part: &str, place: &str, rows: &[(&str, &'static str, f64)]) -> Sheet {
        let mut sheet = Sheet::new(part, &place);
        for (what, shim, value) in rows {
            sheet.values(&Label::new(what, shim), "ms", &[*value], None);
        }
        sheet
    }

    #[test]
    fn a_report_reads_as_it_was_saved() {
        let mut report = Report {
            machine: vec!["2 x CPU".to_owned()],
            ..Report::default()
        };
        report.take(sheet("cold", "2.4", &[("Start", "podhook", 1.5)]));
        let mut gone = sheet("direct", "2.4", &[]);
        gone.missing("Delete", &"a \"reason\"");
        report.take(gone);
        let text = report.text().expect("a text");
        assert_eq!(serde_json::from_str::<Report>(&text).expect("JSON"), report);
    }

    #[test]
    fn what_is_measured_again_takes_the_place_of_what_was() {
        let mut report = Report::default();
        report.take(sheet("cold", "2.4", &[("Start", "podhook", 1.0)]));
        report.take(sheet("cold", "2.3", &[("Start", "podhook", 2.0)]));
        report.take(sheet("cold", "2.4", &[("Start", "podhook", 3.0)]));
        let values: Vec<_> = report.rows.iter().map(|row| row.median).collect();
        assert_eq!(values, [2.0, 3.0]);
    }
}
