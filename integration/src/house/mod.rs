//! The rules of the house: what the sources of every crate keep to.

mod imports;
mod layers;
mod places;

use std::fs;
use std::path::{Path, PathBuf};

use crate::generation::repository;

/// A source file.
pub(crate) struct Source {
    /// Its path in the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The Rust files below a folder of the repository.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let root = repository();
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no sources in {folder}");
    let source = |path: PathBuf| Source {
        path: path
            .strip_prefix(&root)
            .unwrap_or(&path)
            .display()
            .to_string(),
        text: fs::read_to_string(&path).expect("a source file"),
    };
    paths.into_iter().map(source).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The sources of every crate, its tests included.
fn all() -> Vec<Source> {
    let folders = [
        "shim/src",
        "hooks/src",
        "hooks/tests",
        "cli/src",
        "cli/tests",
        "integration/src",
        "integration/tests",
    ];
    folders.into_iter().flat_map(sources).collect()
}

/// Fails with all that is wrong, one a line.
fn assert_none(wrong: &[String], rule: &str) {
    assert!(wrong.is_empty(), "{rule}\n{}", wrong.join("\n"));
}
