//! The book of `make book`: its chapters, and its links.

mod html;
#[cfg(test)]
mod markdown;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

pub use html::wrong_links;

/// A link of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    /// As it is written.
    target: String,
    /// It is shown, not followed.
    is_picture: bool,
}

/// Whether it leads out of the book.
fn is_elsewhere(target: &str) -> bool {
    ["http://", "https://", "mailto:", "data:", "javascript:"]
        .iter()
        .any(|scheme| target.starts_with(scheme))
}

/// The file and the anchor that a link of `page` leads to.
fn resolved(page: &Path, target: &str) -> (PathBuf, Option<String>) {
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (target, None),
    };
    let path = path.split('?').next().unwrap_or_default();
    if path.is_empty() {
        return (page.to_path_buf(), anchor);
    }
    let mut file = page.parent().unwrap_or(page).to_path_buf();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => drop(file.pop()),
            Component::Normal(name) => file.push(name),
            _ => {}
        }
    }
    (file, anchor)
}

/// The files below a folder with this extension, sorted.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|is| is == extension) {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}
