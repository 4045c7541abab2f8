//! Writes the table of `docs/compatibility-matrix.md` from the files that the suites leave in `PODHOOK_RESULTS`.
//!
//! usage: compatibility-table FOLDER

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use podhook_integration::generation::repository;
use podhook_integration::{Place, ShimKind, results};
use serde_json::Value;

const HEAD: &str = "# Compatibility matrix

The suites' results on every combination of containerd, OCI runtime and shim, written by `make test-matrix`.
`runc` as the shim is containerd-shim-runc-v2 of the same generation, the yardstick; `podhook` is
`io.containerd.runc.v2` with `runtime_path`, `podhook-v1` is `io.containerd.podhook.v1` ([testing](testing.md)).
";

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: compatibility-table FOLDER");
        return ExitCode::from(2);
    };
    match results::read(Path::new(&dir)) {
        Ok(files) => {
            print!("{}", document(&files));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{dir}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn document(files: &[Value]) -> String {
    let suites: BTreeSet<_> = files.iter().map(|file| text(file, "suite")).collect();
    let mut out = HEAD.to_owned();
    out += &made_of(files);
    for suite in suites {
        let of = |place: &Place| {
            let named = place.to_string();
            files
                .iter()
                .find(|file| text(file, "suite") == suite && text(file, "place") == named)
        };
        out += &format!("\n## {suite}\n\n");
        out += "| containerd | OCI runtime | shim | passed | failed | not run |\n|---|---|---|---|---|---|\n";
        for place in Place::all() {
            match of(&place) {
                Some(file) => out += &row(&place, file),
                None if suite == "hooks" && place.shim == ShimKind::Runc => {}
                None => {
                    out += &format!(
                        "| {} | {} | {} | – | – | not run |\n",
                        place.generation,
                        place.runtime.name(),
                        place.shim
                    );
                }
            }
        }
        let places: Vec<_> = Place::all().iter().filter_map(of).collect();
        out += &list("Failed", "failed", &places);
        out += &list("Not run", "notRun", &places);
    }
    out
}

/// The versions of everything, as they were when the tests ran: more than one of a kind if the parts of the table
/// were made of different ones.
fn made_of(files: &[Value]) -> String {
    let of = |field: &str| {
        let all: BTreeSet<_> = files.iter().map(|file| text(file, field)).collect();
        all.into_iter().collect::<Vec<_>>().join(" and ")
    };
    let packages: BTreeSet<_> = files
        .iter()
        .flat_map(|file| file["packages"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    let mut out = format!(
        "\npodhook {} on {}, with these packages of Debian 12, 13 and 14, and upstream's programs:\n\n",
        of("podhook"),
        of("kernel")
    );
    for package in packages {
        out += &format!("- {package}\n");
    }
    out
}

fn row(place: &Place, file: &Value) -> String {
    let count = |field: &str| file[field].as_object().map_or(0, serde_json::Map::len);
    format!(
        "| {} | {} {} | {} | {} | {} | {} |\n",
        text(file, "containerd"),
        place.runtime.name(),
        text(file, "runtime"),
        place.shim,
        file["passed"],
        count("failed"),
        count("notRun"),
    )
}

/// The tests of one kind with their reasons and where.
fn list(title: &str, field: &str, files: &[&Value]) -> String {
    let mut tests: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for file in files {
        for (test, reason) in file[field].as_object().into_iter().flatten() {
            let reason = reason.as_str().unwrap_or_default();
            let reason = reason.replace(&format!("{}/", repository().display()), "");
            let reason: String = reason.chars().take(160).collect();
            let reason = reason.replace('|', "\\|");
            let key = (test.clone(), reason);
            tests.entry(key).or_default().push(text(file, "place"));
        }
    }
    if tests.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{title}:\n\n| test | why | where |\n|---|---|---|\n");
    for ((test, reason), places) in tests {
        out += &format!("| `{test}` | {reason} | {} |\n", places.join(", "));
    }
    out
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}
