//! docs/pictures/bench-*.svg.

use std::fs;

use podhook_integration::generation::repository;
use podhook_integration::plot::{Bars, Group, Stack, Stacks, bars, stacks};

use super::Report;
use crate::phases::{self, CALLS, OWNERS};
use crate::shims::Shim;
use crate::{Fallible, cold, ways};

/// The files, and what they show.
pub const PICTURES: [(&str, &str); 4] = [
    ("bench-cold.svg", "Calls of a pod's life, milliseconds"),
    (
        "bench-alone.svg",
        "Execs one a second and in a tight loop, milliseconds",
    ),
    ("bench-hot.svg", "Calls a second at 1, 10 and 100 at once"),
    ("bench-memory.svg", "Memory of a shim, kilobytes"),
];

/// What a bar is: part, row, how many at once, and what is written beside it.
type Choice = (&'static str, &'static str, usize, String);

fn choices(file: &str) -> Vec<Choice> {
    let plain = |part: &'static str, names: &[&'static str]| -> Vec<Choice> {
        let choice = |name: &&'static str| (part, *name, 1, (*name).to_owned());
        names.iter().map(choice).collect()
    };
    match file {
        "bench-cold.svg" => plain(
            "cold",
            &[
                "RunPodSandbox",
                "CreateContainer",
                "StartContainer",
                "StopContainer",
                "StopPodSandbox",
                "RemovePodSandbox",
                "ctr run --rm",
            ],
        ),
        "bench-alone.svg" => [ways::CLIENT, ways::EXEC_SYNC]
            .into_iter()
            .flat_map(|what| {
                [("alone", "one a second"), ("loop", "in a loop")]
                    .map(|(part, pace)| (part, what, 1, format!("{what}: {pace}")))
            })
            .collect(),
        "bench-hot.svg" => [
            "exec a second",
            "ExecSync a second",
            "State a second",
            "Kill a second",
        ]
        .into_iter()
        .flat_map(|what| [1, 10, 100].map(|many| ("hot", what, many, format!("{what}: {many}"))))
        .collect(),
        _ => plain(
            "memory",
            &[
                "a pod of one: private dirty",
                "a pod of one: PSS",
                "a pod of 20: private dirty",
                "a pod of 20: PSS",
            ],
        ),
    }
}

/// Draws all of them.
pub fn write(report: &Report) -> Fallible<()> {
    for (file, title) in PICTURES {
        let path = repository().join("docs/pictures").join(file);
        fs::write(&path, drawn(report, title, &choices(file), &Shim::ALL))?;
    }
    let path = repository().join("docs/pictures").join(PAUSELESS);
    fs::write(&path, without_pause(report))?;
    let path = repository().join("docs/pictures").join(PHASES);
    Ok(fs::write(path, whose(report))?)
}

/// In docs/pauseless.md.
const PAUSELESS: &str = "bench-pauseless.svg";

/// Pods without a pause container beside those with one, where both were measured.
fn without_pause(report: &Report) -> String {
    let own = Shim::Pauseless.name();
    let measured = |place: &crate::spot::Versions| {
        let mut rows = report.rows.iter();
        rows.any(|row| row.place == place.place && row.shim == own)
    };
    let places = report.places.iter().filter(|place| measured(place));
    let choices = ["RunPodSandbox", cold::UP, "StopPodSandbox"]
        .map(|what| ("cold", what, 1, what.to_owned()));
    let known = Report {
        places: places.cloned().collect(),
        rows: report.rows.clone(),
        ..Report::default()
    };
    drawn(
        &known,
        "Pods with and without a pause container, milliseconds",
        &choices,
        &[Shim::Original, Shim::Podhook, Shim::Pauseless],
    )
}

/// In docs/performance.md.
const PHASES: &str = "bench-phases.svg";

/// Whose the time of a call is: a bar for each call of each shim.
fn whose(report: &Report) -> String {
    let stack = |place: &str, call: &str, shim: &str| {
        let part = |owner: &&str| {
            let what = phases::what(call, owner);
            let mut rows = report.rows.iter();
            let row = rows.find(|row| {
                (&*row.part, &*row.what, &*row.place, &*row.shim) == ("phases", &*what, place, shim)
            });
            row.map(|row| row.median)
        };
        Some(Stack {
            label: format!("{call}, {shim}"),
            parts: OWNERS.iter().map(part).collect::<Option<_>>()?,
        })
    };
    let panel = |place: &crate::spot::Versions| {
        let bars = CALLS.iter().flat_map(|call| {
            [Shim::Original, Shim::Podhook, Shim::Pauseless]
                .map(|shim| stack(&place.place, call, shim.name()))
        });
        Stacks {
            title: format!("containerd {}, {}", place.containerd, place.runtime),
            stacks: bars.flatten().collect(),
        }
    };
    let panels = report.places.iter().map(panel);
    let panels: Vec<_> = panels.filter(|panel| !panel.stacks.is_empty()).collect();
    stacks(
        "Whose the time of a call is, milliseconds",
        &OWNERS,
        &panels,
    )
}

fn drawn(report: &Report, title: &str, choices: &[Choice], shims: &[Shim]) -> String {
    let names = shims.iter().map(|shim| shim.name());
    let known = |name: &&str| {
        let mut rows = report.rows.iter();
        rows.any(|row| row.shim == **name && choices.iter().any(|choice| choice.0 == row.part))
    };
    let shown: Vec<String> = names.filter(known).map(str::to_owned).collect();
    let panel = |place: &crate::spot::Versions| {
        let group = |(part, what, at_once, label): &Choice| {
            let value = |shim: &String| {
                let mut rows = report.rows.iter();
                let row = rows.find(|row| {
                    (&*row.part, &*row.what, row.at_once, &row.place, &row.shim)
                        == (part, what, *at_once, &place.place, shim)
                });
                row.map(|row| row.median)
            };
            Group {
                label: label.clone(),
                values: shown.iter().map(value).collect(),
            }
        };
        let groups: Vec<_> = choices.iter().map(group).collect();
        let measured = groups
            .into_iter()
            .filter(|group| group.values.iter().any(Option::is_some));
        Bars {
            title: format!("containerd {}, {}", place.containerd, place.runtime),
            groups: measured.collect(),
        }
    };
    let panels = report.places.iter().map(panel);
    let panels: Vec<_> = panels.filter(|panel| !panel.groups.is_empty()).collect();
    bars(title, &shown, &panels)
}

#[cfg(test)]
mod tests {
    use super::super::tests::sheet;
    use super::*;

    #[test]
    fn a_shim_that_was_not_measured_has_no_colour() {
        let mut report = Report::default();
        report.visited(crate::spot::Versions {
            place: "2.4".to_owned(),
            containerd: "2.4.2".to_owned(),
            runtime: "runc 1.5.0".to_owned(),
        });
        report.take(sheet("cold", "2.4", &[("StartContainer", "podhook", 50.0)]));
        let text = drawn(&report, "t", &choices("bench-cold.svg"), &Shim::ALL);
        assert!(text.contains("containerd 2.4.2, runc 1.5.0"), "{text}");
        assert!(
            text.contains("podhook") && !text.contains("runc-v2"),
            "{text}"
        );
    }

    #[test]
    fn pods_without_a_pause_container_are_drawn_where_they_were_measured() {
        let mut report = Report::default();
        for place in ["1.6", "2.4"] {
            report.visited(crate::spot::Versions {
                place: place.to_owned(),
                containerd: format!("{place}.1"),
                runtime: "runc 1.5.0".to_owned(),
            });
            report.take(sheet("cold", place, &[("RunPodSandbox", "podhook", 50.0)]));
        }
        report.take(sheet(
            "cold",
            "2.4",
            &[
                ("RunPodSandbox", "podhook", 50.0),
                ("RunPodSandbox", "podhook-pauseless", 30.0),
            ],
        ));
        let text = without_pause(&report);
        assert!(text.contains("podhook-pauseless"), "{text}");
        assert!(
            text.contains("containerd 2.4.1") && !text.contains("1.6.1"),
            "{text}"
        );
    }
}
