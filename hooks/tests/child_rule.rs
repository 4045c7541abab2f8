//! What runs between fork and execve keeps to system calls on prepared data: the rule of `exec/child/mod.rs`, read in
//! the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// What allocates, locks, logs, panics, or goes through the C library's or Rust's own state.
const FORBIDDEN: &[&str] = &[
    "Arc",
    "Box",
    "BTreeMap",
    "CString",
    "Cell",
    "HashMap",
    "LazyLock",
    "Mutex",
    "Once",
    "OnceLock",
    "OsString",
    "OwnedFd",
    "PathBuf",
    "Rc",
    "RwLock",
    "String",
    "Vec",
    "alloc",
    "assert",
    "clone",
    "collect",
    "dbg",
    "eprintln",
    "env",
    "expect",
    "format",
    "last_os_error",
    "log",
    "nix",
    "panic",
    "println",
    "rustix",
    "serde_json",
    "thread_local",
    "todo",
    "to_owned",
    "to_string",
    "to_vec",
    "tokio",
    "tracing",
    "unimplemented",
    "unreachable",
    "unwrap",
    "vec",
    "write_all",
    "writeln",
];

/// Modules of the standard library that only name types and constants, or copy bytes.
const STD: &[&str] = &["arch", "ffi", "mem", "os", "ptr", "result", "sync::atomic"];

fn sources() -> Vec<PathBuf> {
    let exec = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/exec");
    let mut files: Vec<_> = fs::read_dir(exec.join("child"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.iter().any(|file| file.ends_with("joiner.rs")));
    assert!(files.iter().any(|file| file.ends_with("command.rs")));
    files.extend(["sys", "report"].map(|name| exec.join(format!("plan/{name}.rs"))));
    files
}

/// A source without its tests, its comments and the text of its strings.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut code = String::new();
    for line in source.lines() {
        let line = line.split("//").next().unwrap_or_default();
        // Every second piece is text: no string here has an escaped quote or goes on in the next line.
        code.extend(line.split('"').step_by(2).flat_map(|piece| [piece, "\"\""]));
        code.push('\n');
    }
    code
}

fn breaches(source: &str) -> Vec<String> {
    let code = code(source);
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    let forbidden = words.filter(|word| FORBIDDEN.contains(word));
    let mut found: Vec<String> = forbidden.map(str::to_string).collect();
    let standard = code.split("std::").skip(1);
    let standard = standard.filter(|path| !STD.iter().any(|module| path.starts_with(module)));
    found.extend(standard.map(|path| format!("std::{}", path.lines().next().unwrap_or_default())));
    // Only what takes and gives numbers; every call goes through `sys`.
    let calls = code.split("libc::").skip(1).filter(|rest| {
        let name = rest
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next();
        let name = name.unwrap_or_default();
        name.starts_with(|c: char| c.is_lowercase())
            && rest
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('('))
            && name != "makedev"
    });
    found.extend(calls.map(|rest| format!("libc::{}", rest.lines().next().unwrap_or_default())));
    found
}

#[test]
fn nothing_between_fork_and_execve_allocates_locks_logs_or_panics() {
    for file in sources() {
        let found = breaches(&fs::read_to_string(&file).unwrap());
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
}

#[test]
fn the_child_imports_only_the_plan() {
    for file in sources() {
        let source = code(&fs::read_to_string(&file).unwrap());
        // A visibility is no import.
        let source = source.replace("(in crate::exec)", "");
        for path in source.split("crate::").skip(1) {
            assert!(
                path.starts_with("exec::plan"),
                "{}: crate::{path:.60}",
                file.display()
            );
        }
        // Siblings: `super::super::` would lead out.
        assert!(!source.contains("super::super"), "{}", file.display());
    }
}

#[test]
fn a_breach_of_the_rule_is_seen() {
    for line in [
        "let text = format!(\"{}\", 1);",
        "let list = vec![1];",
        "let list: Vec<u8> = all.collect();",
        "log::warn!(\"x\");",
        "let file = std::fs::File::open(path);",
        "use std::io;",
        "value.unwrap();",
        "unsafe { libc::setuid(0) };",
        "LOCK.lock(); static LOCK: Mutex<u8> = Mutex::new(0);",
    ] {
        assert!(!breaches(line).is_empty(), "{line}");
    }
    for line in [
        "// Unlike format! this is fine, and so is std::fs.",
        "at(Step::Chdir, Err(libc::ENOENT))?; let name = c\"println!\";",
        "const NULL: u64 = libc::makedev(1, 3);",
        "let stat: libc::stat = unsafe { std::mem::zeroed() };",
    ] {
        assert_eq!(breaches(line), Vec::<String>::new(), "{line}");
    }
}
