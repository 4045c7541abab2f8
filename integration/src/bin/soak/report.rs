//! What a run is told of: on the terminal, and in docs/evidence/soak.md with its picture.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use podhook_integration::Place;
use podhook_integration::generation::repository;
use podhook_integration::plot::{Line, Panel, svg};

use crate::Error;
use crate::arguments::Arguments;
use crate::cycle::Took;
use crate::growth::SERIES;
use crate::run::Run;
use crate::watch::Sample;

/// A run as rows of a table: what, and how much.
fn rows(run: &Run) -> Vec<(String, String)> {
    let seconds = run.samples.last().map_or(1.0, |sample| sample.at);
    let count = run.took.len();
    let times = |of: fn(&Took) -> Duration| {
        let mut all: Vec<_> = run.took.iter().map(of).collect();
        all.sort_unstable();
        let at = |share: usize| {
            all.get(all.len() * share / 100)
                .copied()
                .unwrap_or_default()
        };
        format!("{:.0} / {:.0} ms", ms(at(50)), ms(at(99)))
    };
    let mut rows = vec![
        ("containers".to_owned(), count.to_string()),
        (
            "containers a second".to_owned(),
            format!("{:.1}", count as f64 / seconds),
        ),
        (
            "Create and Start with postStart, median / p99".to_owned(),
            times(|took| took.start),
        ),
        (
            "preStop, signal and end, median / p99".to_owned(),
            times(|took| took.stop),
        ),
        (
            "all of a container's life, median / p99".to_owned(),
            times(|took| took.whole),
        ),
        ("probes of the pod".to_owned(), run.probes.to_string()),
        ("execs in the pod".to_owned(), run.execs.to_string()),
        (
            "wrong or lost statuses and outputs".to_owned(),
            run.errors.len().to_string(),
        ),
        (
            "left after the run".to_owned(),
            match run.left.is_empty() {
                true => "nothing".to_owned(),
                false => run.left.join("; "),
            },
        ),
    ];
    rows.extend(SERIES.iter().map(|series| {
        let (before, after) = series.ends(&run.samples);
        let unit = series.unit;
        let name = format!("{}: second quarter, last quarter", series.name);
        (
            name,
            format!("{before}, {after} {unit}").trim_end().to_owned(),
        )
    }));
    rows
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// For the terminal.
pub fn lines(run: &Run) -> String {
    let mut text = String::new();
    for (what, value) in rows(run) {
        let _ = writeln!(text, "{what}: {value}");
    }
    for error in run.errors.iter().take(20) {
        let _ = writeln!(text, "wrong: {error}");
    }
    text
}

/// Writes page and picture.
pub fn write(runs: &[Run], arguments: &Arguments) -> Result<(), Error> {
    let docs = repository().join("docs");
    let picture = docs.join("pictures/soak.svg");
    let names: Vec<_> = runs.iter().map(|run| title(run.place)).collect();
    let panels = [
        panel(runs, "containers a second", rate),
        panel(
            runs,
            "private dirty memory of the pod's shim, KiB",
            |samples| line(samples, |sample| sample.shim.dirty as f64),
        ),
        panel(runs, "descriptors of the pod's shim", |samples| {
            line(samples, |sample| sample.shim.files as f64)
        }),
        panel(runs, "private dirty memory of containerd, MiB", |samples| {
            line(samples, |sample| sample.containerd.dirty as f64 / 1024.0)
        }),
        panel(runs, "descriptors of containerd", |samples| {
            line(samples, |sample| sample.containerd.files as f64)
        }),
        panel(
            runs,
            "cgroups of the containers, in all hierarchies",
            |samples| line(samples, |sample| sample.cgroups as f64),
        ),
        panel(runs, "mounts", |samples| {
            line(samples, |sample| sample.mounts as f64)
        }),
    ];
    let head = format!("{} containers at a time", arguments.parallel);
    let saved = |path: &std::path::Path, text: String| {
        fs::write(path, text).map_err(|error| format!("write {}: {error}", path.display()))
    };
    saved(&picture, svg(&head, &names, &panels))?;
    let mut text = HEAD.to_owned();
    let words: Vec<_> = runs.iter().map(|run| run.place.to_string()).collect();
    let profile = match cfg!(debug_assertions) {
        true => "",
        false => " PROFILE=release",
    };
    let _ = writeln!(
        text,
        "Written by `make soak{profile} MINUTES={} PLACES=\"{}\" WRITE=1`, {} minutes for each, one after the other, {} containers at a time, on {} processors.\n",
        arguments.minutes,
        words.join(" "),
        arguments.minutes,
        arguments.parallel,
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    let _ = writeln!(text, "| | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(runs.len()));
    let all: Vec<_> = runs.iter().map(rows).collect();
    for (number, (what, _)) in all.first().into_iter().flatten().enumerate() {
        let cells: Vec<_> = all.iter().map(|rows| rows[number].1.clone()).collect();
        let _ = writeln!(text, "| {what} | {} |", cells.join(" | "));
    }
    text += "\n![What was counted during the run](../pictures/soak.svg)\n";
    let page = docs.join("evidence/soak.md");
    saved(&page, text)?;
    println!("written: {}, {}", page.display(), picture.display());
    Ok(())
}

fn title(place: Place) -> String {
    let shim = match place.shim.is_podhook() {
        true => "podhook",
        false => "containerd-shim-runc-v2",
    };
    let version = place.generation.version().unwrap_or_default();
    format!("{shim} on containerd {version}")
}

fn panel(runs: &[Run], title: &str, of: impl Fn(&[Sample]) -> Line) -> Panel {
    Panel {
        title: title.to_owned(),
        lines: runs.iter().map(|run| of(&run.samples)).collect(),
    }
}

fn line(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> Line {
    samples
        .iter()
        .map(|sample| (sample.at, of(sample)))
        .collect()
}

/// Over ten looks each, so that it can be read.
fn rate(samples: &[Sample]) -> Line {
    let over = |pair: &[Sample]| {
        let (first, last) = (pair.first()?, pair.last()?);
        let seconds = (last.at - first.at).max(0.001);
        Some((last.at, (last.done - first.done) as f64 / seconds))
    };
    samples.windows(10).filter_map(over).collect()
}

const HEAD: &str = "\
# Soak: many containers for a long time

`make soak` makes containers one after the other, many at a time, as fast as the machine can. Each is created, started with a postStart
hook, exec'd three times, probed, stopped with a preStop hook, and deleted. Every exit status (of the container and of each exec, as Wait and Delete
say it) and every byte of output is compared with what it must be. All the while one pod lives, made by CRI: it is probed each second, and 10,000
execs run in it in half an hour. The hooks of the original are execs of its client, as the kubelet's are.

The run fails where a status or an output is wrong or lost, where something is left after it, and where what is counted is more in
the last quarter of the run than in the second (the memory of containerd is shown only). This file is written by it; nobody edits it.

";
