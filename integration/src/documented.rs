//! docs/compatibility.md names tests that there are and that are run.

use std::fs;
use std::path::{Path, PathBuf};

use crate::generation::repository;

fn sources(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            all.push(path);
        }
    }
}

/// `file::test` in `code`.
fn named(document: &str) -> Vec<(&str, &str)> {
    let code = document.split('`').skip(1).step_by(2);
    let names = code.filter_map(|code| code.split_once("::"));
    names.collect()
}

#[test]
fn every_test_that_the_compatibility_page_names_is_run() {
    let root = repository();
    let mut all = Vec::new();
    for dir in ["integration/tests", "shim/src", "hooks/src", "cli/src"] {
        sources(&root.join(dir), &mut all);
    }
    let document = fs::read_to_string(root.join("docs/compatibility.md")).expect("the page");
    let names = named(&document);
    assert!(names.len() > 50, "{names:?}");
    for (file, test) in names.into_iter().filter(|name| *name != ("file", "test")) {
        let runs = |path: &PathBuf| {
            let text = fs::read_to_string(path).unwrap_or_default();
            // In the suites of this crate a test is in a list besides.
            let uses = if path.starts_with(root.join("integration")) {
                2
            } else {
                1
            };
            text.contains(&format!("fn {test}(")) && text.matches(test).count() >= uses
        };
        let mut of_file = all
            .iter()
            .filter(|path| path.file_stem().is_some_and(|stem| stem == file));
        // `criu::` is the whole file.
        let there = test.is_empty() && of_file.clone().next().is_some();
        assert!(there || of_file.any(runs), "no {file}::{test}");
    }
}
