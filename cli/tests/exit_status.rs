//! Exit statuses as docs/cli.md has them, and colours, of the program itself.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn podhook(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podhook"));
    command
        .args(words)
        .env("CONTAINERD_ADDRESS", "/nowhere/containerd.sock")
        .stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> (Option<i32>, String) {
    let output = podhook(words).output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// A root folder with nothing in it.
fn empty() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    (folder, path)
}

#[test]
fn that_nobody_reads_stderr_is_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let podhook = Command::new(env!("CARGO_BIN_EXE_podhook"))
        .args(["doctor", "--root", "/none/such"])
        .stderr(writer)
        .output()
        .unwrap();
    assert_eq!(podhook.status.code(), Some(1));
}

#[test]
fn the_status_says_how_it_went() {
    let (_folder, root) = empty();
    assert_eq!(run(&["--help"]).0, Some(0));
    assert_eq!(run(&["version", "--root", &root]).0, Some(0));
    // A check fails: there is no containerd.
    assert_eq!(run(&["doctor", "--root", &root]).0, Some(1));
    let (status, said) = run(&["ps", "--state", "/nowhere"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("\n  hint: --state names"), "{said}");
    let (status, said) = run(&["get", "pods"]);
    assert_eq!(status, Some(1));
    assert!(
        said.starts_with("error: cannot connect to containerd at /nowhere/containerd.sock: "),
        "{said}"
    );
    assert!(said.contains("\n  hint: does it run? "), "{said}");
    for wrong in [
        &["--no-such-flag"][..],
        &["no-such-command"],
        &["apply"],
        &["doctor", "-o", "xml"],
    ] {
        assert_eq!(run(wrong).0, Some(2), "{wrong:?}");
    }
}

#[test]
fn an_interrupt_is_130() {
    let (folder, state) = empty();
    // Without a container there is not even a header to wait for.
    let bundle = folder.path().join("io.containerd.runtime.v2.task/k8s.io/a");
    std::fs::create_dir_all(&bundle).unwrap();
    let record =
        r#"{"version": 1, "id": "a", "namespace": "k8s.io", "phase": "Running", "hooks": []}"#;
    std::fs::write(bundle.join("podhook.json"), record).unwrap();
    // A shell without a terminal lets what it runs in the background ignore SIGINT, and with it this test.
    let mut child = Command::new("env")
        .args(["--default-signal=INT", env!("CARGO_BIN_EXE_podhook")])
        .args(["ps", "--watch", "--state", &state])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut header = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut header)
        .unwrap();
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    // As a shell says it, of a process that exits and of one that the signal ends.
    let ended = child.wait().unwrap();
    let status = ended.code().or(ended.signal().map(|signal| 128 + signal));
    assert_eq!(status, Some(130));
}

/// What a terminal is sent.
fn on_a_terminal(root: &str, no_color: &str) -> Option<Output> {
    let line = format!("'{}' doctor --root '{root}'", env!("CARGO_BIN_EXE_podhook"));
    let script = Path::new("/usr/bin/script");
    if !script.exists() {
        println!("NOT TESTED: no script(1) on this machine");
        return None;
    }
    let mut command = Command::new(script);
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command
        .env("TERM", "xterm")
        .env("NO_COLOR", no_color)
        .stdin(Stdio::null());
    Some(command.output().unwrap())
}

#[test]
fn only_a_terminal_is_sent_colours() {
    let (_folder, root) = empty();
    let output = podhook(&["doctor", "--root", &root]).output().unwrap();
    assert!(!output.stdout.contains(&0x1b));
    let Some(coloured) = on_a_terminal(&root, "") else {
        return;
    };
    let text = String::from_utf8_lossy(&coloured.stdout).into_owned();
    assert!(text.contains("\x1b[31mfail\x1b[0m"), "{text}");
    let plain = on_a_terminal(&root, "1").unwrap();
    assert!(!plain.stdout.contains(&0x1b), "{plain:?}");
}

#[test]
fn a_bug_report_is_one_file_that_its_owner_alone_reads() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, root) = empty();
    let file = folder.path().join("report.tar.gz");
    let name = file.display().to_string();
    let words = ["bug-report", "--root", &root, "-o", &name];
    let (status, said) = run(&words);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.starts_with(&format!("written: {name}, ")), "{said}");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let listed = Command::new("tar").args(["-tzf", &name]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let first = listed.lines().next().unwrap_or_default();
    assert!(first.ends_with("/README"), "{listed}");
    for part in [
        "/version.json",
        "/doctor.txt",
        "/machine.txt",
        "/records.jsonl",
    ] {
        assert!(
            listed.lines().any(|line| line.ends_with(part)),
            "{part}: {listed}"
        );
    }
    // Never over another file.
    let (status, said) = run(&words);
    assert_eq!(status, Some(1));
    assert!(said.contains("  hint: nothing is written over"), "{said}");
}
