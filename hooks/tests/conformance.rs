//! docs/evidence/kubernetes.md: every row of its tables names a test, and the test is there and is run.

use std::fs;
use std::path::{Path, PathBuf};

use podhook_hooks::lifecycle::{Lifecycle, Ports};

const PAGE: &str = "docs/evidence/kubernetes.md";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of the rows below a heading, without the tables' heads.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let text = read(PAGE);
    let start = text.find(&format!("\n{heading}\n")).expect(heading);
    let section = &text[start + heading.len() + 2..];
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines: Vec<_> = section.lines().collect();
    let is_head = |n: usize| {
        let next = lines.get(n + 1).copied().unwrap_or_default();
        lines[n].starts_with("|---") || next.starts_with("|---")
    };
    (0..lines.len())
        .filter(|n| lines[*n].starts_with('|') && !is_head(*n))
        .map(|n| {
            let inner = lines[n].trim_matches('|');
            inner
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

/// The tests that a cell names, as `prefix::file::test`.
fn named(cell: &str) -> Vec<String> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// Where the test of that name must be: files that may hold it, and its function.
fn place(name: &str) -> Result<(Vec<String>, String), String> {
    let words: Vec<_> = name.split("::").collect();
    let (files, function) = match words[..] {
        ["hooks", file, test] => (vec![format!("integration/tests/hooks/{file}.rs")], test),
        ["parity", file, test] => (vec![format!("integration/tests/parity/{file}.rs")], test),
        ["kubernetes", file, test] => (
            vec![format!("integration/tests/kubernetes/{file}.rs")],
            test,
        ),
        ["crowd", test] => (vec!["integration/tests/crowd/main.rs".to_owned()], test),
        ["sequence", file, test] => (vec![format!("hooks/src/sequence/tests/{file}.rs")], test),
        ["net", file, test] => (
            vec![
                format!("hooks/tests/net/{file}.rs"),
                format!("hooks/src/handler/net/{file}/tests.rs"),
            ],
            test,
        ),
        ["lib", file, test] => (vec![format!("hooks/tests/{file}.rs")], test),
        ["cli", file, test] => (
            vec![
                format!("cli/src/manifest/tests/{file}.rs"),
                format!("cli/src/cmd/apply/{file}.rs"),
            ],
            test,
        ),
        _ => return Err(format!("{name}: no prefix of the page's last table")),
    };
    Ok((files, function.to_owned()))
}

/// Whether the test exists and is run.
fn check(name: &str) -> Result<(), String> {
    let (files, function) = place(name)?;
    let there = files.iter().filter(|file| repository().join(file).exists());
    let [file] = there.collect::<Vec<_>>()[..] else {
        return Err(format!("{name}: not in one of {files:?}"));
    };
    let text = read(file);
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let is_function = |line: &&str| {
        let rest = line.trim_start_matches("async ").strip_prefix("fn ");
        let rest = rest.and_then(|line| line.strip_prefix(&*function));
        rest.is_some_and(|line| line.starts_with('('))
    };
    let at = lines
        .iter()
        .position(is_function)
        .ok_or(format!("{name}: no such function in {file}"))?;
    let run = if file.starts_with("integration/") {
        is_listed(file, &text, &function)
    } else {
        // Between it and the end of what is before it: its attributes.
        let before = lines[..at].iter().rev();
        let mut attributes = before.take_while(|line| line.starts_with('#'));
        attributes.any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"))
    };
    if run {
        Ok(())
    } else {
        Err(format!("{name}: {file} does not run it"))
    }
}

/// Whether the suite that the file belongs to has the test in its list.
fn is_listed(file: &str, text: &str, function: &str) -> bool {
    let path = Path::new(file);
    let module = path.file_stem().unwrap_or_default().to_string_lossy();
    let main = read(path.with_file_name("main.rs"));
    let called = module == "main" || main.contains(&format!("{module}::tests()"));
    called && listed(text).contains(&function)
}

/// What is in the `tests!` lists of a file.
fn listed(text: &str) -> Vec<&str> {
    let lists = text.split("tests![").skip(1);
    let entries = lists.flat_map(|list| {
        let list = list.split(']').next().unwrap_or_default();
        list.split_once(':')
            .map_or("", |(_, entries)| entries)
            .split(',')
    });
    let entries = entries.map(str::trim);
    entries.filter(|entry| !entry.is_empty()).collect()
}

fn check_all(rows: &[Vec<String>]) {
    let mut wrong = Vec::new();
    for row in rows {
        let names = named(row.last().map_or("", String::as_str));
        if names.is_empty() {
            wrong.push(format!("no test: {}", row.join(" | ")));
        }
        wrong.extend(names.iter().filter_map(|name| check(name).err()));
    }
    assert!(wrong.is_empty(), "{PAGE}:\n{}", wrong.join("\n"));
}

#[test]
fn every_row_of_the_conformance_tables_has_a_test_that_is_run() {
    let rows = rows("## Conformance");
    assert!(rows.len() >= 60, "{} rows", rows.len());
    check_all(&rows);
}

#[test]
fn the_rows_are_numbered_complete_and_judged() {
    for (n, row) in rows("## Conformance").iter().enumerate() {
        let [number, kubernetes, podhook, verdict, _] = &row[..] else {
            panic!("five cells: {row:?}");
        };
        assert_eq!(number, &(n + 1).to_string(), "{row:?}");
        assert!(n > 0 || !kubernetes.is_empty(), "{row:?}");
        assert!(!podhook.is_empty(), "{row:?}");
        let (word, reason) = verdict.split_once(": ").unwrap_or((verdict, ""));
        let known = ["same", "better", "differs"].contains(&word);
        assert!(
            known && (word != "differs" || !reason.is_empty()),
            "{row:?}"
        );
    }
}

#[test]
fn what_users_have_asked_for_has_a_test_that_is_run() {
    let rows = rows("## What users have asked for");
    check_all(&rows);
    // And the other way round.
    let page = read(PAGE);
    for file in ["pains", "pains_stop"] {
        let text = read(format!("integration/tests/hooks/{file}.rs"));
        for test in listed(&text) {
            let name = format!("`hooks::{file}::{test}`");
            assert!(page.contains(&name), "{name} is on no row");
        }
    }
}

#[test]
fn what_a_kubelet_was_asked_has_a_test_that_is_run() {
    let rows = rows("## Under a kubelet");
    assert!(rows.len() >= 20, "{} rows", rows.len());
    check_all(&rows);
    // And the other way round.
    let page = read(PAGE);
    for file in [
        "tutorial",
        "post_start",
        "pre_stop",
        "restart",
        "workloads",
        "spec_fields",
        "resize",
        "probes",
        "failures",
        "jobs",
        "nodes",
    ] {
        let text = read(format!("integration/tests/kubernetes/{file}.rs"));
        for test in listed(&text) {
            let name = format!("`kubernetes::{file}::{test}`");
            assert!(page.contains(&name), "{name} is on no row");
        }
    }
}

#[test]
fn the_pages_example_is_a_lifecycle() {
    let text = read("docs/kubernetes.md");
    let annotation = text
        .split("lifecycle.podhook.dev/nginx: |\n")
        .nth(1)
        .and_then(|rest| rest.split("\nspec:").next());
    let ports = [("http".to_owned(), 80)];
    let lifecycle = Lifecycle::from_json(annotation.unwrap_or_default(), &Ports::Listed(&ports));
    let lifecycle = lifecycle.expect("a lifecycle");
    assert!(lifecycle.post_start.is_some() && lifecycle.pre_stop.is_some());
}

#[test]
fn what_is_not_there_is_noticed() {
    let error = |name| check(name).expect_err(name);
    assert!(error("hooks::stop::no_such_test").contains("no such function"));
    assert!(error("hooks::no_such_file::x").contains("not in one of"));
    assert!(error("elsewhere::stop::x").contains("no prefix"));
    // A function of the file that is no test.
    assert!(error("hooks::post_start::starts").contains("does not run it"));
    assert!(error("lib::lifecycle_accepted::sleeping").contains("does not run it"));
    assert!(named("no test").is_empty());
}
