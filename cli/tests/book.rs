//! What the pages of docs/book tell people to type and to write is taken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use podhook::args::{Cli, plugin};
use serde_json::Value;

const PODHOOK: &str = env!("CARGO_BIN_EXE_podhook");
const ANNOTATION: &str = "podhook.dev/lifecycle";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A block of code.
struct Block {
    /// The page and the block's first line.
    place: String,
    language: String,
    text: String,
}

/// All blocks of the pages.
fn blocks() -> Vec<Block> {
    let mut all = Vec::new();
    for entry in fs::read_dir(repository().join("docs/book"))
        .expect("the pages")
        .flatten()
    {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let page = fs::read_to_string(&path).expect("a page");
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut open: Option<Block> = None;
        for (number, line) in page.lines().enumerate() {
            match (line.strip_prefix("```"), open.take()) {
                (Some(_), Some(block)) => all.push(block),
                (Some(language), None) => {
                    assert!(
                        !language.is_empty(),
                        "{name}:{}: a block of what?",
                        number + 1
                    );
                    open = Some(Block {
                        place: format!("{name}:{}", number + 2),
                        language: language.to_owned(),
                        text: String::new(),
                    });
                }
                (None, Some(block)) => {
                    let text = block.text + line + "\n";
                    open = Some(Block { text, ..block });
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{name}: a block without an end");
    }
    all
}

fn of(language: &str) -> Vec<Block> {
    let mut all = blocks();
    all.retain(|block| block.language == language);
    all
}

/// The commands of a block: `$ ` is a user's prompt, `# ` is root's; a line that ends with a backslash goes on.
fn commands(block: &Block) -> Vec<String> {
    let text = block.text.replace("\\\n", " ");
    let lines = text.lines();
    let commands = lines.filter_map(|line| line.strip_prefix("$ ").or(line.strip_prefix("# ")));
    commands.map(str::to_owned).collect()
}

/// As a shell splits it.
fn words(command: &str) -> Vec<String> {
    let output = Command::new("sh")
        .args(["-c", &format!("printf '%s\\0' {command}")])
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{command}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// `podhook check` of a text: its exit status and what it says.
fn check(args: &[&str], text: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file"), text).expect("a file");
    let output = Command::new(PODHOOK)
        .arg("check")
        .args(args)
        .arg("file")
        .current_dir(folder.path())
        .output()
        .expect("podhook");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said.into_owned())
}

#[test]
fn every_manifest_is_accepted_without_a_warning() {
    let mut pods = 0;
    for block in of("yaml") {
        let value: Value = serde_saphyr::from_str(&block.text).expect(&block.place);
        // Compose's, which has no kind, is in another test.
        let Some(kind) = value["kind"].as_str() else {
            continue;
        };
        let (status, said) = check(&["--strict", "-f"], &block.text);
        assert_eq!(status, Some(0), "{}: {said}", block.place);
        if kind == "Pod" {
            pods += 1;
            assert!(said.contains(": ok: "), "{}: {said}", block.place);
            assert_eq!(
                value["spec"]["runtimeClassName"], "podhook",
                "{}",
                block.place
            );
        }
    }
    assert!(pods >= 9, "{pods}");
}

#[test]
fn every_lifecycle_is_accepted_but_the_one_that_is_shown_as_wrong() {
    let mut values = Vec::new();
    for block in of("json") {
        let value: Value = serde_json::from_str(&block.text).expect(&block.place);
        // A network of pods is CNI's.
        if value["cniVersion"].is_null() {
            values.push((block.place, block.text));
        } else {
            assert!(value["plugins"].is_array(), "{}", block.place);
        }
    }
    for block in of("yaml") {
        let value: Value = serde_saphyr::from_str(&block.text).expect(&block.place);
        for service in value["services"]
            .as_object()
            .into_iter()
            .flat_map(|all| all.values())
        {
            let lifecycle = service["annotations"][ANNOTATION]
                .as_str()
                .expect("a lifecycle");
            values.push((block.place.clone(), lifecycle.to_owned()));
        }
    }
    for block in of("console") {
        for command in commands(&block)
            .iter()
            .filter(|command| command.contains(" run "))
        {
            let words = words(command);
            let annotation = words
                .iter()
                .find_map(|word| word.strip_prefix(ANNOTATION)?.strip_prefix('='));
            values.push((
                block.place.clone(),
                annotation.expect("a lifecycle").to_owned(),
            ));
        }
    }
    assert!(values.len() >= 6, "{}", values.len());
    let mut wrong = Vec::new();
    for (place, value) in values {
        let (status, said) = check(&[], &value);
        if status != Some(0) {
            wrong.push(format!("{place}: {said}"));
        }
    }
    let [refused] = &*wrong else {
        panic!("{wrong:#?}");
    };
    assert!(
        refused.starts_with("quick-start-ctr.md:")
            && refused.contains("preStop.sleep.secs: unknown field"),
        "{refused}"
    );
}

#[test]
fn every_configuration_of_the_node_is_taken() {
    let blocks = of("toml");
    assert!(blocks.len() >= 2);
    for block in blocks {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("config.toml");
        fs::write(&config, &block.text).expect("a file");
        let args = ["--config", &*config.to_string_lossy()];
        let (status, said) = check(&args, r#"{"preStop": {"sleep": {"seconds": 1}}}"#);
        assert_eq!(status, Some(0), "{}: {said}", block.place);
    }
}

#[test]
fn every_command_of_podhook_is_one_and_every_file_and_target_is_there() {
    let makefile = fs::read_to_string(repository().join("Makefile")).expect("the Makefile");
    let mut count = 0;
    for block in of("console") {
        for command in commands(&block).iter().flat_map(|line| line.split(" | ")) {
            let place = format!("{}: {command}", block.place);
            if !command.contains(" run ") {
                for word in words(command) {
                    let is_there =
                        !word.starts_with("examples/") || repository().join(&word).is_file();
                    assert!(is_there, "{place}");
                }
            }
            if let Some(target) = command.strip_prefix("make ") {
                assert!(makefile.contains(&format!("\n{target}:")), "{place}");
            }
            let (cli, line) = match command.strip_prefix("kubectl ") {
                Some(line) => (plugin::command(Some(plugin::PLUGIN.as_ref())), line),
                None => (Cli::command(), command),
            };
            if line.starts_with("podhook ") {
                count += 1;
                let taken = cli.try_get_matches_from(words(line));
                assert!(taken.is_ok(), "{place}: {}", taken.unwrap_err());
            }
        }
    }
    assert!(count > 40, "{count}");
}

/// `ExecStart=/usr/local/bin/podhook …` of a unit.
#[test]
fn every_command_of_a_unit_is_one() {
    let mut count = 0;
    for block in of("ini") {
        for line in block.text.lines() {
            if let Some((_, command)) = line.split_once("=/usr/local/bin/") {
                count += 1;
                let taken = Cli::command().try_get_matches_from(words(command));
                assert!(taken.is_ok(), "{}: {line}", block.place);
            }
        }
    }
    assert_eq!(count, 2);
}
