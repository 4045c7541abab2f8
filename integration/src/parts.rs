//! What `make test` and `.ci/run` promise: the scripts of `.ci`.

use std::path::Path;
use std::process::{Command, Output};

use crate::generation::repository;

/// A `make` that knows some targets; of them a fails as a test program does, and c as a compiler.
const MAKE: &str = r#"#!/bin/sh
for target; do :; done
case $target in
    a) (sleep 20; : > "$0.later") &
        cat <<END
     Running tests/exec.rs (target/debug/deps/exec-0123abc)
test one ... ok
test two::three ... FAILED

failures:

---- two::three stdout ----
it was four

failures:
    two::three

test result: FAILED. 1 passed; 1 failed
END
        exit 1 ;;
    b) echo fine ;;
    c) echo 'error[E0425]: cannot find it' >&2; exit 2 ;;
esac
"#;

fn run(script: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    run_in(folder.path(), script, arguments)
}

fn run_in(folder: &Path, script: &str, arguments: &[&str]) -> Output {
    let make = folder.join("make");
    // Not by this process: one that another test forks would have it open for writing.
    let write = "printf '%s' \"$1\" > \"$0\"; chmod +x \"$0\"";
    let written = Command::new("sh")
        .args(["-c", write])
        .arg(&make)
        .arg(MAKE)
        .status();
    assert!(written.expect("sh").success());
    Command::new(repository().join(".ci").join(script))
        .args(
            arguments
                .iter()
                .map(|word| word.replace("MAKE", &make.to_string_lossy())),
        )
        .env("ALIVE_EVERY", "1")
        .output()
        .expect("the script")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_failed_part_keeps_no_other_from_running_and_is_named_at_the_end() {
    let output = run("parts", &["MAKE", "a", "b", "c"]);
    assert!(!output.status.success());
    let text = text(&output);
    assert!(text.contains("\nfine\n"), "{text}");
    let (before, summary) = text.split_once("=== summary").expect("a summary");
    // With its message, once more.
    assert_eq!(before.matches("it was four").count(), 2, "{text}");
    assert!(
        summary.ends_with(
            "\na: FAILED\n    exec: two::three\nb: passed\nc: FAILED\n    error[E0425]: cannot find it\n"
        ),
        "{summary}"
    );
}

/// A test that panics leaves its children, which have the output.
#[test]
fn what_a_failed_part_leaves_running_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run_in(folder.path(), "parts", &["MAKE", "a"]);
    assert!(!output.status.success());
    assert!(!folder.path().join("make.later").exists());
}

#[test]
fn parts_that_all_pass_are_a_success() {
    let output = run("parts", &["MAKE", "b", "b"]);
    assert!(output.status.success());
    assert!(text(&output).ends_with("\nb: passed\nb: passed\n"));
}

#[test]
fn what_is_silent_says_that_it_runs_and_keeps_its_output_and_status() {
    // Long enough for a machine that comes late to the first second.
    let script = "echo one; sleep 12; printf two; exit 7";
    let output = run("alive", &["sh", "-c", script]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(text(&output), "one\ntwo");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(" s: sh -c echo one"), "{said}");
}
