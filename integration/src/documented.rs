//! docs/compatibility.md, docs/evidence/containerd.md and SECURITY.md name tests that there are and that are run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::generation::repository;
use crate::house::{Source, sources};

/// `file::test` in `code`.
fn named(document: &str) -> Vec<(&str, &str)> {
    let code = document.split('`').skip(1).step_by(2);
    let names = code.filter_map(|code| code.split_once("::"));
    names.collect()
}

#[test]
fn every_test_that_the_compatibility_pages_name_is_run() {
    let root = repository();
    let folders = ["integration/tests", "shim/src", "hooks/src", "cli/src"];
    let all: Vec<_> = folders.into_iter().flat_map(sources).collect();
    let page = |page| fs::read_to_string(root.join(page)).expect("the page");
    let document = page("docs/compatibility.md") + &page("docs/evidence/containerd.md");
    let names = named(&document);
    assert!(names.len() > 50, "{names:?}");
    for (file, test) in names.into_iter().filter(|name| *name != ("file", "test")) {
        let is_file = |source: &&Source| {
            let path = Path::new(&source.path);
            // A folder's own page has the folder's name.
            let name = match path.ends_with("mod.rs") {
                true => path.parent().and_then(Path::file_name),
                false => path.file_stem(),
            };
            name.is_some_and(|name| name == file)
        };
        let mut of_file = all.iter().filter(is_file);
        // `criu::` is the whole file.
        let there = test.is_empty() && of_file.clone().next().is_some();
        assert!(
            there || of_file.any(|source| runs(source, test)),
            "no {file}::{test}"
        );
    }
}

/// Whether `source` has the test, and runs it.
fn runs(source: &Source, test: &str) -> bool {
    // In the suites of this crate a test is in a list besides.
    let uses = if source.path.starts_with("integration") {
        2
    } else {
        1
    };
    source.text.contains(&format!("fn {test}(")) && source.text.matches(test).count() >= uses
}

/// `WHERE FILE::TEST`: WHERE is a suite of this crate, or a folder.
#[test]
fn every_line_of_the_threat_model_names_its_test() {
    let root = repository();
    let suites = ["parity", "hooks", "protocol", "kubernetes", "v2"];
    let folders = [
        "integration/tests",
        "shim/src",
        "hooks/src",
        "hooks/tests",
        "cli/src",
        "cli/tests",
    ];
    let all: Vec<_> = folders.into_iter().flat_map(sources).collect();
    let document = fs::read_to_string(root.join("SECURITY.md")).expect("the page");
    let (_, model) = document
        .split_once("## Who can do what")
        .expect("the model");
    let is_row = |line: &&str| line.starts_with("| ") && !line.ends_with("| test |");
    let rows: Vec<_> = model.lines().filter(is_row).collect();
    assert!(rows.len() > 30, "{rows:?}");
    for row in rows {
        let (_, tests) = row.rsplit_once(" | ").expect("a column of tests");
        let names = named(tests);
        assert!(!names.is_empty(), "no test: {row}");
        for (file, test) in names {
            let (place, file) = file.split_once(' ').expect("WHERE FILE::TEST");
            let path = match suites.contains(&place) {
                true => format!("integration/tests/{place}/{file}.rs"),
                false => format!("{place}/{file}.rs"),
            };
            let source = all.iter().find(|source| source.path == path);
            let there = source.is_some_and(|source| runs(source, test));
            assert!(there, "no {test} in {path}");
        }
    }
}

/// `a -> b;` of a graph, both ends known.
fn arrows(graph: &str, known: &[&str]) -> BTreeSet<(String, String)> {
    let lines = graph.lines().filter_map(|line| {
        let (from, to) = line.trim().strip_suffix(';')?.split_once(" -> ")?;
        (known.contains(&from) && known.contains(&to)).then(|| (from.to_owned(), to.to_owned()))
    });
    lines.collect()
}

#[test]
fn the_picture_of_the_crates_has_their_dependencies() {
    let root = repository();
    let crates = [
        ("hooks", "podhook-hooks"),
        ("shim", "containerd-shim-podhook-v1"),
        ("cli", "podhook"),
        ("integration", "podhook-integration"),
    ];
    let mut depends = BTreeSet::new();
    for (folder, _) in crates {
        let manifest = fs::read_to_string(root.join(folder).join("Cargo.toml")).expect(folder);
        let lines = manifest.lines();
        let lines = lines.skip_while(|line| *line != "[dependencies]").skip(1);
        for line in lines.take_while(|line| !line.starts_with('[')) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let on = crates.iter().find(|(_, package)| *package == name);
            depends.extend(on.map(|(on, _)| (folder.to_owned(), (*on).to_owned())));
        }
    }
    let graph = fs::read_to_string(root.join("docs/pictures/crates.dot")).expect("the text");
    assert_eq!(arrows(&graph, &crates.map(|(folder, _)| folder)), depends);
}

/// After a change of a text: `make pictures`.
#[test]
fn every_picture_is_drawn_from_its_text() {
    let folder = repository().join("docs/pictures");
    let mut drawn = 0;
    for entry in fs::read_dir(&folder).expect("the pictures").flatten() {
        let text = entry.path();
        if !text
            .extension()
            .is_some_and(|end| end == "dot" || end == "msc")
        {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let file = fs::File::open(&text).expect("a text");
        let sum = Command::new("cksum").stdin(file).output().expect("cksum");
        let sum = String::from_utf8_lossy(&sum.stdout).trim().to_owned();
        let picture = fs::read_to_string(text.with_extension("svg")).unwrap_or_default();
        let last = picture.lines().last().unwrap_or_default();
        assert_eq!(last, format!("<!-- {name}: {sum} -->"), "{name}");
        drawn += 1;
    }
    assert!(drawn >= 3, "{drawn}");
}
