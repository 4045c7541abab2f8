//! Which folder may import which: the tree is the architecture only as long as no import runs back up.
//!
//! A table has one line per layer. What stands on a line imports from the lines below it, and nothing from its
//! own line. A module that is in no line fails the test: say where it belongs.

use super::Source;
use super::assert_none;
use super::sources;

/// The layers of one folder, from the top down.
struct Table {
    folder: &'static str,
    lines: &'static [&'static str],
}

const TABLES: &[Table] = &[
    Table {
        folder: "shim/src",
        lines: &[
            "main",
            "lib",
            "verb",
            "server",
            "sandbox",
            "container",
            "stdio",
            "runtime",
            "cgroup",
            "containerd",
            "mount",
            "journal",
            "host",
            "counters",
            "error unwinding",
        ],
    },
    Table {
        folder: "hooks/src",
        lines: &[
            "lib",
            "journal",
            "config_json counters record",
            "handler",
            "exec",
            "config",
            "sequence",
            "lifecycle",
            "null_device",
            "build deadline forks linux moment named signal task trace",
            "similar",
        ],
    },
    Table {
        folder: "hooks/src/exec",
        lines: &["parent", "settings seccomp tree child", "error", "plan"],
    },
    Table {
        folder: "cli/src",
        lines: &[
            "main lib",
            "cmd",
            "doctor",
            "pods setup",
            "node",
            "manifest",
            "cluster cri store",
            "output",
            "args clock",
        ],
    },
    Table {
        folder: "cli/src/setup",
        lines: &[
            "configure restart",
            "place programs",
            "state",
            "change",
            "docker shims",
            "containerd units",
            "version",
            "root",
            "error",
        ],
    },
    Table {
        folder: "cli/src/cmd",
        lines: &[
            "across agent apply bug_report check completion convert delete describe doctor exec get history inspect install logs metrics node_label ps uninstall version webhook worker",
            "interrupt listen outcome",
            "error",
        ],
    },
];

/// Imports that still run the wrong way: the file, and what it imports. None is added; one that is gone goes
/// from here.
const KNOWN: &[(&str, &str)] = &[];

#[test]
fn no_import_runs_back_up() {
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    for table in TABLES {
        for (file, target, rule) in table.violations() {
            let known = KNOWN.iter().find(|known| **known == (&*file, &*target));
            match known {
                Some(known) => seen.push(*known),
                None => wrong.push(format!("{file} imports {target}: {rule}")),
            }
        }
    }
    for known in KNOWN.iter().filter(|known| !seen.contains(known)) {
        wrong.push(format!("{known:?} is mended: take it out of KNOWN"));
    }
    assert_none(&wrong, "A layer imports from the layers below it only:");
}

impl Table {
    fn line_of(&self, module: &str) -> Option<usize> {
        let has = |line: &&str| line.split(' ').any(|name| name == module);
        self.lines.iter().position(has)
    }

    fn violations(&self) -> Vec<(String, String, String)> {
        let files = sources(self.folder);
        let prefix = self.prefix();
        let root = files.iter().find(|file| self.relative(file) == "mod.rs");
        let exports = root.map(|root| exports(&root.text)).unwrap_or_default();
        let mut found = Vec::new();
        for file in &files {
            let relative = self.relative(file);
            // What opens a module to the programs of fuzz/ stands beside it, as its tests do.
            let beside = ["tests.rs", "fuzzing.rs"];
            if beside.iter().any(|name| relative.ends_with(name)) || relative.contains("tests/") {
                continue;
            }
            let first = relative.split('/').next().unwrap_or_default();
            let own = first.trim_end_matches(".rs");
            // The folder's own page shows what is below it.
            if own == "mod" || own == "bin" {
                continue;
            }
            let Some(line) = self.line_of(own) else {
                found.push((
                    file.path.clone(),
                    own.to_owned(),
                    "it is in no layer".to_owned(),
                ));
                continue;
            };
            let module = module_of(&file.path);
            for path in imports(&file.text, &module) {
                let Some(rest) = path.strip_prefix(&*prefix) else {
                    continue;
                };
                let Some(name) = rest.first() else { continue };
                let exported = exports.iter().find(|(leaf, _)| leaf == name);
                let target = exported.map_or(name, |(_, module)| module);
                let Some(other) = self.line_of(target) else {
                    continue;
                };
                if target != own && other <= line {
                    let target = path.join("::");
                    let rule = format!("{own} stands on or below that line of {}", self.folder);
                    let entry = (file.path.clone(), target, rule);
                    if !found.contains(&entry) {
                        found.push(entry);
                    }
                }
            }
        }
        found
    }

    fn relative<'a>(&self, file: &'a Source) -> &'a str {
        file.path[self.folder.len()..].trim_start_matches('/')
    }

    /// The module that the folder is.
    fn prefix(&self) -> Vec<String> {
        let parts = self.folder.split('/').skip(2);
        parts.map(str::to_owned).collect()
    }
}

/// The module that a file is, from the crate's root.
fn module_of(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path
        .trim_end_matches(".rs")
        .split('/')
        .skip(2)
        .map(str::to_owned)
        .collect();
    if matches!(&*parts, [.., last] if ["mod", "lib", "main"].contains(&&**last)) {
        parts.pop();
    }
    parts
}

/// What a `mod.rs` shows as its own: the name, and the module below that it is from.
fn exports(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in code(text).split(';') {
        let Some(tree) = line.trim().strip_prefix("pub use ") else {
            continue;
        };
        let Some((module, rest)) = tree.split_once("::") else {
            continue;
        };
        let names = rest.rsplit_once("::").map_or(rest, |(_, names)| names);
        for name in names.trim_matches(['{', '}']).split(',') {
            let name = name.rsplit(" as ").next().unwrap_or(name).trim();
            found.push((name.to_owned(), module.to_owned()));
        }
    }
    found
}

/// The text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let text = text
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    let lines = text.lines().filter(|line| !line.trim().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The absolute paths of everything of this crate that a file names.
fn imports(text: &str, module: &[String]) -> Vec<Vec<String>> {
    let text = code(text);
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &text[at..];
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            let (path, after) = rest.split_at(end.unwrap_or(rest.len()));
            let group = after
                .strip_prefix('{')
                .and_then(|group| group.split('}').next());
            let leaves = group.map_or(vec![""], |group| group.split(',').collect());
            for leaf in leaves {
                let parts = path.split("::").chain(leaf.trim().split("::"));
                let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
                found.push(absolute(&parts, module));
            }
        }
    }
    found
}

fn absolute(parts: &[&str], module: &[String]) -> Vec<String> {
    let mut path = module.to_vec();
    for part in parts {
        match *part {
            "crate" => path.clear(),
            "super" => {
                path.pop();
            }
            "self" => {}
            name => path.push(name.split(' ').next().unwrap_or(name).to_owned()),
        }
    }
    path
}

#[test]
fn what_a_file_imports_is_found_however_it_is_written() {
    let text = "use crate::a::{B, c::D};\nuse super::e;\n// use crate::no;\nfn f() { super::super::g::h() }\n\
                pub(super) fn i() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::test;\n}\n";
    let module = ["x", "y", "z"].map(str::to_owned);
    let found: Vec<String> = imports(text, &module)
        .iter()
        .map(|path| path.join("::"))
        .collect();
    assert_eq!(found, ["a::B", "a::c::D", "x::y::e", "x::g::h"]);
    let exports = exports("mod a;\npub use a::b::C;\npub use d::{E, F as G};\n");
    let exports: Vec<_> = exports.iter().map(|(a, b)| (&**a, &**b)).collect();
    assert_eq!(exports, [("C", "a"), ("E", "d"), ("G", "d")]);
}
