//! How imports are written: the standard library, other crates, this crate, a blank line between; one module
//! per `use`, braces for its last part only; re-exports last.

use super::all;
use super::assert_none;

/// The group that an import belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Standard,
    External,
    Own,
    Reexport,
}

/// A `use` statement: the lines it begins and ends at, its indentation, and what it says on one line.
struct Use {
    line: usize,
    end: usize,
    indent: usize,
    public: bool,
    tree: String,
}

fn uses(text: &str) -> Vec<Use> {
    let mut found: Vec<Use> = Vec::new();
    let mut open: Option<Use> = None;
    for (number, line) in text.lines().enumerate() {
        if let Some(mut one) = open.take() {
            one.end = number;
            one.tree.push(' ');
            one.tree.push_str(line.trim());
            if line.ends_with(';') {
                found.push(one);
            } else {
                open = Some(one);
            }
            continue;
        }
        let trimmed = line.trim_start();
        let public = trimmed.starts_with("pub use ") || trimmed.starts_with("pub(crate) use ");
        if !public && !trimmed.starts_with("use ") {
            continue;
        }
        let one = Use {
            line: number,
            end: number,
            indent: line.len() - trimmed.len(),
            public,
            tree: trimmed
                .split_once("use ")
                .map_or("", |(_, tree)| tree)
                .to_owned(),
        };
        if line.ends_with(';') {
            found.push(one);
        } else {
            open = Some(one);
        }
    }
    found
}

fn group(one: &Use, modules: &[&str]) -> Group {
    let first = one.tree.split("::").next().unwrap_or_default();
    let first = first.trim_end_matches(';');
    if one.public {
        Group::Reexport
    } else if ["std", "core", "alloc"].contains(&first) {
        Group::Standard
    } else if ["crate", "super", "self"].contains(&first)
        || modules.contains(&first)
        || first.starts_with(|c: char| c.is_ascii_uppercase())
    {
        Group::Own
    } else {
        Group::External
    }
}

/// What is wrong with the imports of a file, as the line and the rule.
fn wrong(text: &str) -> Vec<(usize, &'static str)> {
    let modules: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            let line = line.trim_start_matches("pub").trim_start_matches("(crate)");
            let line = line.trim_start_matches("(super)").trim_start();
            line.strip_prefix("mod ")?.split([';', ' ']).next()
        })
        .collect();
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut before: Option<(Use, Group)> = None;
    for one in uses(text) {
        if one.tree.matches('{').count() > 1 {
            found.push((one.line, "nested braces: one module per `use`"));
        }
        let group = group(&one, &modules);
        // What has an attribute or stands in a function is by itself.
        let apart = one.line > 0 && lines[one.line - 1].trim_start().starts_with("#[");
        if let Some((last, last_group)) = &before
            && last.indent == one.indent
            && !apart
        {
            let between = &lines[last.end + 1..one.line];
            if between.iter().all(|line| line.trim().is_empty()) {
                if group < *last_group {
                    found.push((
                        one.line,
                        "the order is std, other crates, this crate, re-exports",
                    ));
                } else if (group == *last_group) != between.is_empty() {
                    found.push((one.line, "a blank line between groups, and none within one"));
                }
            }
        }
        before = Some((one, group));
    }
    found
}

#[test]
fn imports_are_written_in_one_way() {
    let mut all_wrong = Vec::new();
    for file in all() {
        for (line, rule) in wrong(&file.text) {
            all_wrong.push(format!("{}:{}: {rule}", file.path, line + 1));
        }
    }
    assert_none(&all_wrong, "Imports:");
}

#[test]
fn the_rules_of_imports_find_what_breaks_them() {
    let count = |text: &str| wrong(text).len();
    let good = "mod c;\n\nuse std::io::{self, Write};\n\nuse a::B;\n\nuse super::D;\nuse c::E;\n\npub use c::F;\n";
    assert_eq!(wrong(good), []);
    assert_eq!(count("use a::{b::{C}, D};\nuse x::{\n    y::{Z},\n};\n"), 2);
    assert_eq!(count("use crate::a;\n\nuse std::io;\n"), 1);
    assert_eq!(count("use std::io;\nuse a::B;\n"), 1);
    assert_eq!(count("use a::B;\n\nuse a::C;\n"), 1);
    assert_eq!(count("use a::{\n    B, C,\n};\n\nuse a::D;\n"), 1);
}
