//! docs/exec-equality.md says what the tests test.

use std::fmt::Write;
use std::path::Path;

use crate::ROWS;
use crate::accepted;
use crate::compare::Expected;
use crate::support::runtime::Runtime;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/exec-equality.md");
const BEGIN: &str = "<!-- generated: make exec-equality -->\n";
const END: &str = "<!-- end -->\n";

/// The part of the document between its marks.
fn generated() -> String {
    let mut text = String::from("\n| container and process |");
    for runtime in Runtime::ALL {
        write!(text, " {} |", runtime.title()).unwrap();
    }
    text += "\n|---|---|---|---|---|---|---|\n";
    for row in ROWS {
        write!(text, "| {} |", row.title).unwrap();
        for runtime in Runtime::ALL {
            write!(
                text,
                " {} |",
                cell(row.name, (row.setup)(runtime).expected, runtime)
            )
            .unwrap();
        }
        text += "\n";
    }
    text += "\n### Accepted differences\n\n";
    for (number, accepted) in (1..).zip(accepted::ACCEPTED) {
        writeln!(text, "{number}. {}", accepted.why).unwrap();
    }
    text += "\n### Not compared\n\n";
    for (keys, why) in accepted::VOLATILE {
        let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
        writeln!(text, "- {}: {why}.", keys.join(", ")).unwrap();
    }
    text + "\n"
}

fn cell(row: &str, expected: Expected, runtime: Runtime) -> String {
    match expected {
        Expected::Equal => {
            let numbers: Vec<_> = accepted::of(row, runtime)
                .iter()
                .map(|(number, _)| number.to_string())
                .collect();
            match numbers.as_slice() {
                [] => "equal".to_string(),
                some => format!("equal but {}", some.join(", ")),
            }
        }
        Expected::Refused if runtime.is_crun() => "both refuse".to_string(),
        Expected::Refused => "both refuse, same words".to_string(),
        Expected::RefusedInOtherWords(why) => format!("both refuse; this one says {why}"),
        Expected::RefusedAsByRunc => "starts it; the engine refuses, as runc".to_string(),
        Expected::FallsBack => "left to the runtime".to_string(),
        Expected::EqualWith(module) => format!("not tested: needs a kernel with {}", module.name()),
        Expected::NotHere(why) => format!("not tested: {why}"),
    }
}

/// `PODHOOK_WRITE_DOCS=1` writes it instead.
#[test]
fn the_document_has_this_table() {
    let text = std::fs::read_to_string(FILE).unwrap();
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("the mark where the table begins");
    let (table, after) = rest.split_once(END).expect("the mark where the table ends");
    let generated = generated();
    if std::env::var_os("PODHOOK_WRITE_DOCS").is_some() {
        let text = format!("{before}{BEGIN}{generated}{END}{after}");
        std::fs::write(Path::new(FILE), text).unwrap();
        return;
    }
    assert_eq!(table, generated, "out of step: run make exec-equality");
}
