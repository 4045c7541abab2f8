//! docs/evidence/bench.md, and the goals in docs/benchmarks.md between their marks.

use std::fmt::Write;
use std::fs;

use podhook_integration::generation::repository;

use super::Report;
use super::goal::Bound;
use super::goals::GOALS;
use super::pictures::PICTURES;
use crate::Fallible;
use crate::part::Part;
use crate::row::Row;
use crate::sheet::short;
use crate::shims::Shim;

const BEGIN: &str = "<!-- written by make bench: begin -->\n";
const END: &str = "<!-- written by make bench: end -->";

const HEAD: &str = "\
# Benchmarks: every figure

Written by `make bench WRITE=1` from [bench.json](bench.json); nobody edits it. How to read it: [benchmarks.md](../benchmarks.md). Times are medians
with p99 in parentheses, CPU is of everything on the node for one, ratios are podhook's to containerd-shim-runc-v2's: less is better, but for
what is counted by the second. A dash is what has no shim, or what was not measured.

";

/// Writes both.
pub fn write(report: &Report) -> Fallible<()> {
    let docs = repository().join("docs");
    let page = docs.join("evidence/bench.md");
    fs::write(&page, evidence(report))?;
    let path = docs.join("benchmarks.md");
    let text = fs::read_to_string(&path)?;
    fs::write(&path, between_marks(&text, &summary(report))?)?;
    println!("written: {}, {}", page.display(), path.display());
    Ok(())
}

/// The text with something else between the marks.
fn between_marks(text: &str, new: &str) -> Fallible<String> {
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or("benchmarks.md: the marks of make bench are gone")?;
    Ok(format!("{before}{BEGIN}{new}{END}{after}"))
}

fn machine(report: &Report) -> String {
    let mut text = String::new();
    for line in &report.machine {
        let _ = writeln!(text, "- {line}");
    }
    for place in &report.places {
        let _ = writeln!(
            text,
            "- `{}`: containerd {}, {}",
            place.place, place.containerd, place.runtime
        );
    }
    text
}

fn summary(report: &Report) -> String {
    let mut text = format!("{}\n{}", machine(report), goals(report));
    for (file, title) in PICTURES {
        let _ = write!(text, "\n![{title}](pictures/{file})\n");
    }
    text
}

/// The table of the goals: a line each, and what came out at each place.
pub fn goals(report: &Report) -> String {
    let places: Vec<_> = report.places.iter().map(|place| &*place.place).collect();
    let mut text = format!("| | goal | {} |\n", places.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(places.len()));
    for goal in GOALS {
        let bound = match goal.bound {
            Bound::AtMost(most) => format!("≤ {}{}", trimmed(most), goal.unit),
            Bound::AtLeast(least) => format!("≥ {}", trimmed(least)),
        };
        let cell = |place: &&str| match goal.value(report, place) {
            _ if !goal.is_of(place) => String::new(),
            None => "–".to_owned(),
            Some(value) if goal.bound.holds(value) => format!("{}{} ✓", short(value), goal.unit),
            Some(value) => format!("**{}{}**", short(value), goal.unit),
        };
        let cells: Vec<_> = places.iter().map(cell).collect();
        let _ = writeln!(text, "| {} | {bound} | {} |", goal.what, cells.join(" | "));
    }
    text
}

/// `0.75`, `3`, `0.0833`
fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn evidence(report: &Report) -> String {
    let mut text = format!("{HEAD}{}\n## Goals\n\n{}", machine(report), goals(report));
    for part in Part::ALL {
        let rows: Vec<_> = report
            .rows
            .iter()
            .filter(|row| row.part == part.name())
            .collect();
        if !rows.is_empty() {
            let _ = write!(text, "\n## {}\n\n{}", part.title(), table(report, &rows));
        }
    }
    if !report.missing.is_empty() {
        text += "\n## Not measured\n\n| place | part | what | why |\n|---|---|---|---|\n";
        for one in &report.missing {
            let reason = one.reason.replace('|', "\\|");
            let _ = writeln!(
                text,
                "| {} | {} | {} | {reason} |",
                one.place, one.part, one.what
            );
        }
    }
    text
}

/// A line for each thing at each place.
fn table(report: &Report, rows: &[&Row]) -> String {
    let names = Shim::ALL.map(Shim::name);
    let mut text = format!(
        "| | at once | place | {} | no shim | ratio | CPU: {} | ratio |\n|---|---|---|{}\n",
        names.join(" | "),
        names[..2].join(", "),
        "---|".repeat(7)
    );
    let mut seen: Vec<(&str, usize)> = Vec::new();
    for row in rows {
        if !seen.contains(&(&row.what, row.at_once)) {
            seen.push((&row.what, row.at_once));
        }
    }
    for (what, at_once) in seen {
        for place in &report.places {
            let here: Vec<_> = rows
                .iter()
                .filter(|row| {
                    (&*row.what, row.at_once, &row.place) == (what, at_once, &place.place)
                })
                .collect();
            if here.is_empty() {
                continue;
            }
            let of = |name: &str| here.iter().find(|row| row.shim == name).copied().copied();
            let all = names.map(of);
            let none = of(crate::row::NO_SHIM);
            let cpu = |row: Option<&Row>| row.and_then(|row| row.cpu).map(|cpu| cpu.all());
            let cpus = [all[0], all[1], none].map(cpu);
            let shown: Vec<_> = cpus.iter().flatten().map(|cpu| short(*cpu)).collect();
            let shown = match shown.is_empty() {
                true => "–".to_owned(),
                false => format!("{} ms", shown.join(", ")),
            };
            let _ = writeln!(
                text,
                "| {what} | {at_once} | {} | {} | {} | {} | {} | {} | {shown} | {} |",
                place.place,
                cell(all[0]),
                cell(all[1]),
                cell(all[2]),
                cell(none),
                quotient(all[0].map(|row| row.median), all[1].map(|row| row.median)),
                quotient(cpus[0], cpus[1]),
            );
        }
    }
    text
}

fn cell(row: Option<&Row>) -> String {
    let Some(row) = row else {
        return "–".to_owned();
    };
    let spread = match row.n {
        1 => String::new(),
        _ => format!(" ({})", short(row.p99)),
    };
    format!("{}{spread} {}", short(row.median), row.unit)
        .trim_end()
        .to_owned()
}

fn quotient(one: Option<f64>, other: Option<f64>) -> String {
    match (one, other) {
        (Some(one), Some(other)) if other != 0.0 => format!("{:.2}", one / other),
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sheet;
    use super::*;
    use crate::spot::Versions;

    fn report() -> Report {
        let mut report = Report::default();
        report.visited(Versions {
            place: "2.4".to_owned(),
            containerd: "2.4.2".to_owned(),
            runtime: "runc 1.5.0".to_owned(),
        });
        let rows = [
            ("StartContainer", "podhook", 50.0),
            ("StartContainer", "containerd-shim-runc-v2", 60.0),
        ];
        let mut cold = sheet("cold", "2.4", &rows);
        cold.missing("crun", &"a | b");
        report.take(cold);
        report
    }

    #[test]
    fn a_goal_that_is_missed_is_seen() {
        let text = goals(&report());
        let line = text
            .lines()
            .find(|line| line.starts_with("| StartContainer"));
        assert_eq!(line, Some("| StartContainer | ≤ 0.75 | **0.833** |"));
        assert!(text.contains("| ctr run --rm | ≤ 0.7 | – |"), "{text}");
    }

    #[test]
    fn the_page_has_every_row_and_what_is_not_there() {
        let text = evidence(&report());
        let row = "| StartContainer | 1 | 2.4 | 50.0 ms | 60.0 ms | – | – | 0.83 | – | – |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| 2.4 | cold | crun | a \\| b |"), "{text}");
    }

    #[test]
    fn what_stands_around_the_marks_stays() {
        let text = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let new = between_marks(&text, "new\n").expect("marks");
        assert_eq!(new, format!("before\n{BEGIN}new\n{END}\nafter\n"));
        assert!(between_marks("nothing", "new").is_err());
    }
}
