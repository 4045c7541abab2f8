//! The man pages and completion scripts that packages have.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use clap::CommandFactory;
use podhook::args::{Cli, plugin};

#[path = "../examples/pages.rs"]
#[allow(dead_code)]
mod pages;

/// What a program says of a file; none where the machine has no such program.
fn run(program: &str, arguments: &[&str], file: &Path) -> Option<Output> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(file)
        .env("MANWIDTH", "100")
        .env("LC_ALL", "C.UTF-8");
    match command.output() {
        Ok(output) => Some(output),
        Err(e) => {
            println!("NOT TESTED: {program}: {e}");
            None
        }
    }
}

#[test]
fn every_command_has_a_page_that_man_has_nothing_to_say_about() {
    let folder = tempfile::tempdir().unwrap();
    pages::write(folder.path()).unwrap();
    let man = folder.path().join("man1");
    let cli = Cli::command();
    let commands = cli
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let mut names: Vec<String> = commands
        .map(|command| format!("podhook-{}.1", command.get_name()))
        .collect();
    names.push("podhook.1".to_owned());
    names.push("kubectl-podhook.1".to_owned());
    names.extend(plugin::PLUGIN_COMMANDS.map(|name| format!("kubectl-podhook-{name}.1")));
    names.sort();
    let mut there: Vec<String> = fs::read_dir(&man)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, names);
    let shim = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/package/containerd-shim-podhook-v1.8");
    let pages = names.iter().map(|name| man.join(name)).chain([shim]);
    for page in pages {
        let Some(output) = run(
            "man",
            &["--warnings", "--local-file", "-Tutf8", "-E", "UTF-8"],
            &page,
        ) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.is_empty(),
            "{}: {said}",
            page.display()
        );
    }
}

#[test]
fn examples_stand_in_a_page_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    pages::write(folder.path()).unwrap();
    let page = folder.path().join("man1/podhook-doctor.1");
    let Some(output) = run("man", &["--local-file", "-Tutf8", "-E", "UTF-8"], &page) else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let at = lines
        .iter()
        .position(|line| line.contains("For a program"))
        .unwrap_or_else(|| panic!("{text}"));
    assert_eq!(
        lines[at + 1],
        "podhook doctor -o json | jq '.checks[] | select(.status != \"ok\")'"
    );
}

#[test]
fn the_plugins_pages_say_what_is_typed_in_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    pages::write(folder.path()).unwrap();
    for (name, own) in [
        ("ps", "--all-namespaces"),
        ("inspect", "--agent-namespace"),
        ("check", "--strict"),
    ] {
        let page = folder.path().join(format!("man1/kubectl-podhook-{name}.1"));
        let Some(output) = run("man", &["--local-file", "-Tutf8", "-E", "UTF-8"], &page) else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // What is bold is written twice, with a step back between; and lines are filled.
        let parts: Vec<&str> = text.split('\u{8}').collect();
        let mut plain = String::new();
        for (n, part) in parts.iter().enumerate() {
            plain.push_str(part);
            if n + 1 < parts.len() {
                plain.pop();
            }
        }
        let text: Vec<&str> = plain.split_whitespace().collect();
        let text = text.join(" ");
        for wanted in [
            &format!("kubectl podhook {name}"),
            own,
            "kubectl-podhook(1)",
        ] {
            assert!(text.contains(wanted), "{name}: {wanted}: {text}");
        }
    }
}

#[test]
fn shells_read_their_scripts() {
    let folder = tempfile::tempdir().unwrap();
    pages::write(folder.path()).unwrap();
    for (shell, script) in [
        ("bash", "bash/podhook"),
        ("zsh", "zsh/_podhook"),
        ("fish", "fish/podhook.fish"),
    ] {
        if let Some(output) = run(shell, &["-n"], &folder.path().join(script)) {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.is_empty(),
                "{shell}: {said}"
            );
        }
    }
    let script = folder.path().join("bash/podhook");
    let ask = ". \"$0\"; COMP_WORDS=(podhook bug); COMP_CWORD=1; _podhook podhook bug podhook; echo \"${COMPREPLY[@]}\"";
    if let Some(output) = run("bash", &["-c", ask], &script) {
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "bug-report",
            "{output:?}"
        );
    }
}
