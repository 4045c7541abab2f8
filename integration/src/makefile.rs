//! What `make` runs, as its user sees it.

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::generation::repository;

/// What a target would run, line by line.
fn recipe(target: &str) -> Vec<String> {
    let made = Command::new("make")
        .args(["--dry-run", "--no-print-directory", target])
        // cargo's and make's own, when the tests are run by them.
        .env_remove("CARGO")
        .env_remove("MAKEFLAGS")
        .env_remove("PROFILE")
        .current_dir(repository())
        .output()
        .expect("make");
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8_lossy(&made.stdout).replace("\\\n", " ");
    text.lines().map(str::to_owned).collect()
}

/// Compiling and downloading take minutes on a small machine.
#[test]
fn no_target_compiles_or_downloads_in_silence() {
    for target in [
        "demo",
        "bench",
        "bench-report",
        "bench-check",
        "test",
        "test-v2",
        "test-matrix",
        "test-kubernetes",
        "conformance",
        "chaos",
        "refusal",
        "refusal-short",
        "chaos-short",
        "soak",
        "soak-short",
        "cluster",
        "clippy",
        "install",
        "package",
        "test-packages",
        "test-debian",
        "fuzz",
        "fuzz-short",
        "miri",
        "sanitize",
        "valgrind",
        "build",
        "book",
        "check-book",
    ] {
        let recipe = recipe(target);
        let mut built: Vec<String> = Vec::new();
        for line in &recipe {
            let words: Vec<&str> = line
                .split_whitespace()
                .filter(|word| !word.contains("PODHOOK_"))
                .collect();
            let (alive, words) = match words.as_slice() {
                // Says itself what it is at.
                [".ci/parts", ..] => continue,
                [".ci/alive", rest @ ..] => (true, rest),
                all => (false, all),
            };
            let is_script = words
                .first()
                .is_some_and(|word| fs::read_to_string(repository().join(word)).is_ok());
            let is_cargo = words.first() == Some(&"cargo");
            if is_script {
                assert!(alive, "{target}: {line}");
            }
            if !is_cargo {
                continue;
            }
            let named = |flag: &str| words.iter().skip_while(|word| **word != flag).nth(1);
            match words[1] {
                // What was built a moment before needs no messages.
                "run" => {
                    let name = named("--bin").expect("a name");
                    assert!(built.iter().any(|bin| bin == name), "{target}: {line}");
                }
                "build" => {
                    assert!(alive && !words.contains(&"--quiet"), "{target}: {line}");
                    built.extend(named("--bin").map(|name| (*name).to_owned()));
                }
                // It names what it compiles, then every test.
                "test" => assert!(!words.contains(&"--quiet"), "{target}: {line}"),
                _ => assert!(alive, "{target}: {line}"),
            }
        }
    }
}

fn alive(script: &str) -> Output {
    Command::new(repository().join(".ci/alive"))
        .args(["sh", "-c", script])
        .env("ALIVE_EVERY", "1")
        .output()
        .expect("alive")
}

#[test]
fn a_silent_command_is_said_to_run_and_its_status_is_kept() {
    let ended = alive("sleep 3; echo out; echo err >&2; exit 7");
    assert_eq!(ended.status.code(), Some(7));
    assert_eq!(ended.stdout, b"out\n");
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(text.starts_with("… 1 s: sh -c sleep 3"), "{text}");
    assert!(text.ends_with("err\n"), "{text}");
}

/// Nothing of it holds the caller's pipes.
#[test]
fn a_command_that_has_ended_is_not_waited_for() {
    let begun = Instant::now();
    let ended = Command::new(repository().join(".ci/alive"))
        .args(["true"])
        .env("ALIVE_EVERY", "600")
        .output()
        .expect("alive");
    assert!(
        ended.status.success() && ended.stderr.is_empty(),
        "{ended:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(300));
}
