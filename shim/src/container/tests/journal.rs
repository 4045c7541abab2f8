//! What the node's journal is told of a container.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::world::*;

/// A world whose journal is in a folder of its own.
fn world() -> (World, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("journal");
    let config = format!("journal = '{}'", place.display());
    (World::configured(&config), folder)
}

fn lines(folder: &Path) -> Vec<Value> {
    let files = std::fs::read_dir(folder.join("journal"));
    let files = files.into_iter().flatten().flatten();
    let paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    let text: String = paths
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// `HookEnded postStart Failed PostStart`, as many as there are to be. They are written by another thread, in real time.
fn told(folder: &Path, count: usize) -> Vec<String> {
    let began = Instant::now();
    while lines(folder).len() < count && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |line: Value| {
        let hook = &line["hook"];
        let words = [
            &line["event"],
            &hook["hook"],
            &hook["result"],
            &line["phase"],
        ];
        words.map(word).join(" ")
    };
    lines(folder).into_iter().map(line).collect()
}

#[test]
fn a_container_that_ran_is_told_hook_by_hook_and_once() {
    story(async {
        let (world, folder) = world();
        let task = world.running("c1", BOTH).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        task.hook_ends("pre", false);
        moment().await;
        task.init_exits(0);
        moment().await;
        assert_eq!(answer(task.delete()).await, "ok");
        let expected = [
            "HookEnded postStart Succeeded Running",
            "HookEnded preStop Failed Signalled",
            "ContainerEnded - - Stopped",
        ];
        assert_eq!(told(folder.path(), 3), expected);
        let lines = lines(folder.path());
        assert_eq!(lines[1]["hook"]["output"], "it printed this");
        assert_eq!(lines[1]["hook"]["exitCode"], 3);
        assert_eq!(lines[2]["termination"]["signal"], "SIGTERM");
        assert_eq!(lines[2]["id"], "c1");
    });
}

#[test]
fn a_start_that_has_failed_is_told_with_its_error() {
    story(async {
        let (world, folder) = world();
        let task = world.create("c1", POST).await.unwrap();
        let start = task.start();
        moment().await;
        task.hook_ends("post", false);
        assert_says(answer(start).await, "FailedPostStartHook");
        let told = told(folder.path(), 3);
        assert_eq!(told[0], "HookEnded postStart Failed Signalled");
        assert_eq!(
            told[1..],
            ["ContainerEnded - - Stopped", "StartFailed - - Stopped"]
        );
        let lines = lines(folder.path());
        assert_says(
            &lines[2]["message"],
            "exited with status 3: it printed this",
        );
    });
}

#[test]
fn what_is_known_late_of_a_hook_is_told_once_it_is_known_or_with_the_end() {
    story(async {
        let (world, folder) = world();
        world.fakes.lock().hooks_die_after = None;
        let task = world.create("c1", POST).await.unwrap();
        let start = task.start();
        moment().await;
        task.init_exits(0);
        assert_eq!(answer(start).await, "ok");
        moment().await;
        let expected = [
            "HookEnded postStart Aborted Stopped",
            "ContainerEnded - - Stopped",
        ];
        assert_eq!(told(folder.path(), 2), expected);
    });
}

#[test]
fn a_container_without_lifecycle_makes_no_journal() {
    story(async {
        let (world, folder) = world();
        let task = world.running("c1", "").await;
        task.init_exits(0);
        moment().await;
        assert_eq!(answer(task.delete()).await, "ok");
        std::thread::sleep(Duration::from_millis(20));
        assert!(!folder.path().join("journal").exists());
    });
}

#[test]
fn a_journal_that_cannot_be_written_changes_nothing() {
    story(async {
        let world = World::configured("journal = '/proc/nowhere/journal'");
        let task = world.running("c1", BOTH).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        task.hook_ends("pre", true);
        moment().await;
        task.init_exits(0);
        moment().await;
        assert_eq!(task.results(), ["postStart Succeeded", "preStop Succeeded"]);
        assert_eq!(answer(task.delete()).await, "ok");
    });
}
