//! What two pages of the book tell people to type, typed on a node, and what they show, shown.

use std::fs;
use std::process::Command;
use std::time::Duration;

use podhook_integration::command::{self, Output};
use podhook_integration::generation::repository;
use podhook_integration::podhook::Podhook;
use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Image, Node, Outcome, tests};

use crate::script::Error;

pub fn tests() -> Vec<Test> {
    tests![book:
        the_page_about_ctr_is_right,
        the_page_about_pods_without_a_kubelet_is_right,
    ]
}

/// A command of a page, and the lines that it shows after it.
struct Step {
    command: String,
    shown: Vec<String>,
}

/// The commands of a page, but those of "Install", which are not for a node that others use.
fn steps(page: &str) -> Result<Vec<Step>, Error> {
    let text = fs::read_to_string(repository().join("docs/book").join(page))?;
    let sections = text.split("\n## ").skip(1);
    let mut steps: Vec<Step> = Vec::new();
    for section in sections.filter(|section| !section.starts_with("Install\n")) {
        for block in section.split("```console\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            for line in block.replace("\\\n", " ").lines() {
                match (line.strip_prefix("# "), steps.last_mut()) {
                    (Some(command), _) => steps.push(Step {
                        command: command.to_owned(),
                        shown: Vec::new(),
                    }),
                    (None, Some(step)) => step.shown.push(line.to_owned()),
                    (None, None) => return Err(format!("{page}: {line}: of which command?").into()),
                }
            }
        }
    }
    assert!(steps.len() >= 6, "{page}: {}", steps.len());
    Ok(steps)
}

/// A shell in the repository in which `ctr` and `podhook` are for the node.
struct Shell<'a> {
    node: &'a Node,
    /// Removes what a page that fails has left. Another page may be typed in at the same time.
    remove: &'static str,
}

impl Shell<'_> {
    fn run(&self, script: &str) -> Result<Output, Error> {
        let ctr = self.node.ctr();
        let client = ctr.command().get_program().to_string_lossy().into_owned();
        let podhook = Podhook::new(self.node.containerd()).command();
        // The fifos of a test stay in its folder.
        let fifos = ctr.fifos().display().to_string();
        let preamble = format!(
            "podhook() {{ '{}' \"$@\"; }}\nctr() {{ case \"$1 $2\" in\n'run '*) shift; set -- run --fifo-dir '{fifos}' \"$@\" ;;\n\
             'task exec') shift 2; set -- task exec --fifo-dir '{fifos}' \"$@\" ;;\nesac; '{client}' \"$@\"; }}\n",
            podhook.get_program().to_string_lossy()
        );
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &(preamble + script)])
            .current_dir(repository())
            .env("CONTAINERD_NAMESPACE", ctr.namespace())
            .env("CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS", "1");
        for (name, value) in podhook.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        Ok(command::run(&mut shell, None, Duration::from_secs(150))?)
    }

    /// Types a page's commands one after the other. One that comes too early is typed again, as people do.
    fn type_in(&self, steps: &[Step]) -> Outcome {
        for Step { command, shown } in steps {
            let namespace = self.node.ctr().namespace().to_owned();
            let shown: Vec<_> = shown
                .iter()
                .map(|line| shape(&line.replace("default", &namespace)))
                .collect();
            let is_error = shown.iter().any(|line| line.starts_with("ctr: "));
            let mut last = None;
            let right = || {
                let output = self.run(command).ok()?;
                let said = format!("{}{}", output.stdout, output.stderr);
                let lines: Vec<_> = said.lines().map(shape).collect();
                let all = shown
                    .iter()
                    .all(|line| lines.iter().any(|said| like(line, said)));
                last = Some(said);
                (all && (output.status != 0) == is_error).then_some(())
            };
            wait::until(command, SOON, right)
                .map_err(|e| format!("{e}: {last:?}, not {shown:?}"))?;
        }
        Ok(())
    }
}

/// A line by words, with `N` for times and durations, but not for `1/1`.
fn shape(line: &str) -> String {
    let is_number = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit()) && (word.len() > 5 || !word.contains('/'))
    };
    let words = line.split_whitespace();
    let words = words.map(|word| if is_number(word) { "N" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a line is the one that is shown, in which `…` is any text.
fn like(shown: &str, said: &str) -> bool {
    match shown.split_once('…') {
        Some((begin, end)) => said.starts_with(begin.trim()) && said.contains(end.trim()),
        None => shown == said,
    }
}

impl Drop for Shell<'_> {
    fn drop(&mut self) {
        let _ = self.run(self.remove);
    }
}

fn the_page_about_ctr_is_right(node: &Node) -> Outcome {
    node.containerd()
        .import(node.ctr().namespace(), Image::Nginx)?;
    let remove = "for id in web wrong; do ctr task rm --force $id; ctr container rm $id; done";
    Shell { node, remove }.type_in(&steps("quick-start-ctr.md")?)
}

fn the_page_about_pods_without_a_kubelet_is_right(node: &Node) -> Outcome {
    node.containerd().import("k8s.io", Image::Nginx)?;
    let remove = "podhook delete pod lifecycle-demo-poststart --force --ignore-not-found";
    Shell { node, remove }.type_in(&steps("quick-start-edge.md")?)
}
