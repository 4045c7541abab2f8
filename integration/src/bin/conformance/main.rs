//! `make conformance`: the whole of critest on private containerds, with the original shim and with podhook side by side,
//! and with podhook's pods without a pause container where containerd can make them.
//! Fails where the original passes a case and podhook does not.
//!
//! usage: conformance [GENERATION[+RUNC]]...     (2.4+runc-1.1; default: every generation with its own runc)
//!
//! Each shim has a network namespace of its own, with a registry on its loopback: critest uses fixed ports of the host.

mod layer;
mod registry;
mod report;
mod side;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::{env, io};

use podhook_integration::generation::upstream;
use podhook_integration::{Generation, Place, ShimKind};

use report::{Case, Report};

/// The original first: it says what can run here.
const SHIMS: [ShimKind; 3] = [ShimKind::Runc, ShimKind::Podhook, ShimKind::Pauseless];

/// Cases that wait for a race, and skip themselves where it does not come about.
const SKIPS_ITSELF: &str = "[k8s.io] NRI plugin synchronization";

/// The fewest cases that the original passes where critest runs as it should.
const ENOUGH: usize = 80;

pub type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["--side", place, report] => match Place::named(place) {
            Some(place) => side::run(place, Path::new(report)).map(|()| true),
            None => Err("--side: want PLACE REPORT".into()),
        },
        names => named(names).and_then(|places| all(&places)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where the original runs, by the words for a containerd and a runc.
fn named(words: &[&str]) -> Result<Vec<Place>, Error> {
    let every: Vec<String> = Generation::ALL.iter().map(ToString::to_string).collect();
    let every = every.iter().map(String::as_str);
    let words = if words.is_empty() {
        every.collect()
    } else {
        words.to_vec()
    };
    let named = |word: &str| {
        let (generation, runtime) = word.split_once('+').unwrap_or((word, "runc"));
        Place::named(&format!("{generation}/runc+{runtime}")).ok_or_else(|| {
            format!("{word:?} is no containerd of 1.6 to 2.4, or one with a runc as 2.4+runc-1.1")
                .into()
        })
    };
    words.into_iter().map(named).collect()
}

/// Whether podhook passes what the original passes, on each.
fn all(places: &[Place]) -> Result<bool, Error> {
    upstream("cri-tools", "critest")?;
    upstream("crane", "crane")?;
    let mut good = true;
    for place in places {
        good &= compare(*place)?;
    }
    Ok(good)
}

fn compare(place: Place) -> Result<bool, Error> {
    let Place {
        generation,
        runtime,
        ..
    } = place;
    println!(
        "=== critest on containerd {}, {} {}",
        generation.version()?,
        runtime.family(),
        generation.oci_version(runtime)?
    );
    let folder = tempfile::tempdir()?;
    let mut sides = Vec::new();
    for shim in SHIMS.into_iter().filter(|shim| shim.is_for(generation)) {
        let path = folder.path().join(shim.handler());
        sides.push((shim, start(Place { shim, ..place }, &path)?, path));
    }
    let mut reports = Vec::new();
    for (shim, mut child, path) in sides {
        let ended = child.wait()?;
        if !ended.success() {
            let log = std::fs::read_to_string(path.with_extension("log")).unwrap_or_default();
            return Err(format!("{shim}: {ended}\n{log}").into());
        }
        reports.push((shim, Report::read(&path)?));
    }
    let Some(((_, original), others)) = reports.split_first() else {
        return Err("the original's side is missing".into());
    };
    counts(&reports);
    let mut good = original.count(|case| *case == Case::Passed) >= ENOUGH;
    // Where the original cannot run, podhook shows nothing.
    if !good {
        println!("FAILED: the original passes fewer than {ENOUGH} cases here");
    }
    for (shim, report) in others {
        good &= is_equal(original, *shim, report);
    }
    Ok(good)
}

/// A process for one shim, in namespaces of its own that end with it. It ends when this one does.
fn start(place: Place, report: &Path) -> io::Result<Child> {
    let log = File::create(report.with_extension("log"))?;
    Command::new("/usr/bin/setpriv")
        .args([
            "--pdeathsig",
            "TERM",
            "/usr/bin/unshare",
            "--net",
            "--mount",
        ])
        .arg(env::current_exe()?)
        .args(["--side", &place.to_string()])
        .arg(report)
        .stdin(Stdio::null())
        .stdout(log.as_fd().try_clone_to_owned()?)
        .stderr(log)
        .spawn()
}

fn counts(reports: &[(ShimKind, Report)]) {
    println!("{:<18}{:>8}{:>8}{:>10}", "", "passed", "failed", "skipped");
    for (shim, report) in reports {
        println!(
            "{:<18}{:>8}{:>8}{:>10}   in {} s",
            shim.handler(),
            report.count(|case| *case == Case::Passed),
            report.count(|case| matches!(case, Case::Failed(_))),
            report.count(|case| *case == Case::Skipped),
            report.seconds,
        );
    }
}

/// Prints where a shim differs; false when the original passes what it does not.
fn is_equal(original: &Report, shim: ShimKind, report: &Report) -> bool {
    let names: BTreeSet<&str> = [original, report]
        .iter()
        .flat_map(|report| report.cases.keys())
        .map(String::as_str)
        .collect();
    let mut good = true;
    for name in names {
        match (original.case(name), report.case(name)) {
            (Case::Passed, Case::Passed) | (Case::Skipped, Case::Skipped) => {}
            (Case::Passed, Case::Skipped) if name.starts_with(SKIPS_ITSELF) => {
                println!("skipped itself: {name}");
            }
            (Case::Passed, other) => {
                good = false;
                println!("{shim} only, FAILED: {name}\n    {other}");
            }
            (Case::Failed(reason), Case::Failed(_)) => {
                println!(
                    "cannot run here, neither with runc nor with {shim}: {name}\n    {reason}"
                );
            }
            (left, right) => println!("differs: {name}\n    runc {left}, {shim} {right}"),
        }
    }
    good
}
