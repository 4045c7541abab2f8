//! `podhook convert` and `podhook check` as people call them: what docs/convert.md shows, exit statuses, files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PODHOOK: &str = env!("CARGO_BIN_EXE_podhook");

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a program in a folder, with a text on its stdin.
fn run(program: &Path, folder: &Path, args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("its stdin");
    // A program that reads nothing is none of this test's.
    let _ = input.write_all(stdin.as_bytes());
    drop(input);
    child.wait_with_output().expect("the program ends")
}

fn podhook(folder: &Path, args: &[&str], stdin: &str) -> (Option<i32>, String, String) {
    let output = run(Path::new(PODHOOK), folder, args, stdin);
    (
        output.status.code(),
        String::from_utf8(output.stdout).expect("text"),
        String::from_utf8(output.stderr).expect("text"),
    )
}

/// The blocks of a kind in docs/convert.md.
fn blocks(kind: &str) -> Vec<String> {
    let page = fs::read_to_string(repository().join("docs/convert.md")).expect("the page");
    page.split(&format!("```{kind}\n"))
        .skip(1)
        .filter_map(|rest| Some(rest.split("```").next()?.to_owned()))
        .collect()
}

#[test]
fn the_page_shows_what_convert_makes() {
    let [before, after, ..] = &*blocks("yaml") else {
        panic!("two blocks of YAML");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let there = podhook(folder.path(), &["convert", "-f", "-"], before);
    assert_eq!(there, (Some(0), after.clone(), String::new()));
    let (status, again, stderr) = podhook(folder.path(), &["convert", "--back", "-f", "-"], after);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    let value = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).expect("YAML");
    assert_eq!(value(&again), value(before));
}

#[test]
fn the_page_shows_what_check_says() {
    let yaml = blocks("yaml").pop().expect("a block");
    let shown = blocks("console")
        .into_iter()
        .find_map(|block| {
            Some(
                block
                    .strip_prefix("$ podhook check -f web.yaml\n")?
                    .to_owned(),
            )
        })
        .expect("what check says");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("web.yaml"), yaml).expect("a file");
    let (status, stdout, stderr) = podhook(folder.path(), &["check", "-f", "web.yaml"], "");
    assert_eq!(status, Some(1));
    assert_eq!(stdout + &stderr, shown);
}

#[test]
fn exit_statuses_are_those_of_the_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {podhook.dev/lifecycle: '{\"preStop\": \
               {\"sleep\": {\"seconds\": 5}}}'}}\nspec: {containers: [{name: a, image: a}]}\n";
    let status = |args: &[&str], stdin: &str| podhook(folder.path(), args, stdin).0;
    // Without a runtimeClassName: a warning.
    assert_eq!(status(&["check", "-f", "-"], pod), Some(0));
    assert_eq!(status(&["check", "--strict", "-f", "-"], pod), Some(1));
    let broken = pod.replace("seconds", "secs");
    assert_eq!(status(&["check", "-f", "-"], &broken), Some(1));
    assert_eq!(status(&["validate", "-"], &broken), Some(1));
    assert_eq!(status(&["check"], pod), Some(2));
    assert_eq!(status(&["convert", "-f", "absent.yaml"], ""), Some(1));
    assert_eq!(status(&["convert"], ""), Some(2));
    let (status, stdout, stderr) =
        podhook(folder.path(), &["check", "-o", "json", "-f", "-"], &broken);
    assert_eq!((status, stderr.as_str()), (Some(1), ""));
    let document: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(document["errors"], 1);
    let findings = document["findings"].as_array().expect("a list");
    let error = findings
        .iter()
        .find(|finding| finding["severity"] == "error");
    assert_eq!(error.expect("an error")["line"], 3);
}

#[test]
fn a_file_that_cannot_be_read_does_not_hide_what_is_wrong_with_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.yaml"), b"a: \xff\n").expect("a file");
    fs::write(folder.path().join("b.yaml"), "a: [\n").expect("a file");
    let (status, _, stderr) = podhook(folder.path(), &["check", "-f", "."], "");
    assert_eq!(status, Some(1));
    assert!(
        stderr.contains("error: ./a.yaml:1:1: cannot read")
            && stderr.contains("error: ./b.yaml:1:4: "),
        "{stderr}"
    );
}

#[test]
fn a_change_that_would_reach_further_is_refused_and_says_how_far() {
    let text = "kind: Pod\nmetadata:\n  name: a\n  annotations: &all\n    x: y\n  labels: *all\nspec:\n  containers:\n  - name: \
                web\n    lifecycle: {preStop: {sleep: {seconds: 1}}}\n";
    let folder = tempfile::tempdir().expect("a folder");
    let (status, stdout, stderr) = podhook(folder.path(), &["convert", "-f", "-"], text);
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    let says = "error: STDIN:6:3: metadata.labels[lifecycle.podhook.dev/web] would change as well\n  hint: ";
    assert!(stderr.starts_with(says), "{stderr}");
}

#[test]
fn files_are_written_all_or_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let pod = |name: &str, handler: &str| {
        format!(
            "kind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n  - name: a\n    lifecycle:\n      preStop: \
             {{{handler}: {{seconds: 5}}}}\n"
        )
    };
    let path = |name: &str| folder.path().join(name);
    let texts = [
        ("a.yaml", pod("a", "sleep")),
        ("b.yaml", pod("b", "slep")),
        ("c.yaml", "kind: Service\n".to_owned()),
    ];
    for (name, text) in &texts {
        fs::write(path(name), text).expect("a file");
    }
    let args = ["convert", "-f", ".", "--in-place"];
    let (status, stdout, stderr) = podhook(folder.path(), &args, "");
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.starts_with("error: ./b.yaml:8:17: ")
            && stderr.ends_with("error: nothing has been written\n"),
        "{stderr}"
    );
    for (name, text) in &texts {
        assert_eq!(fs::read_to_string(path(name)).expect("a file"), *text);
    }
    fs::remove_file(path("b.yaml")).expect("a file");
    let (status, stdout, stderr) = podhook(folder.path(), &args, "");
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, "./a.yaml: pod/a converted: a\n");
    let converted = fs::read_to_string(path("a.yaml")).expect("a file");
    assert!(
        converted.contains("lifecycle.podhook.dev/a: |"),
        "{converted}"
    );
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
}

#[test]
fn the_examples_are_the_same_byte_for_byte_after_there_and_back() {
    let folder = repository().join("examples");
    for file in fs::read_dir(&folder).expect("a folder").flatten() {
        let text = fs::read_to_string(file.path()).expect("a file");
        let args = ["convert", "--runtime-class", "", "-f", "-"];
        let (status, there, _) = podhook(&folder, &args, &text);
        assert_eq!(status, Some(0));
        assert_eq!(there == text, !text.contains("lifecycle:"), "{there}");
        let (status, again, _) = podhook(&folder, &[&args[..], &["--back"]].concat(), &there);
        assert_eq!((status, again), (Some(0), text));
    }
}

#[test]
fn kubectl_runs_it_by_a_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join(podhook::args::plugin::PLUGIN);
    symlink(PODHOOK, &link).expect("a link");
    let output = run(&link, folder.path(), &["--help"], "");
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && help.contains("Usage: kubectl podhook"),
        "{help}"
    );
}
