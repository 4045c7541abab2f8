use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{files, is_elsewhere, markdown, resolved, wrong_links};
use crate::generation::repository;
use crate::house::sources;

const SUMMARY: &str = "docs/book/SUMMARY.md";
/// docs/book/build writes it.
const COMMANDS: &str = "docs/book/commands.md";

/// The files of the chapters, in the order of the summary.
fn chapters() -> Vec<PathBuf> {
    let summary = repository().join(SUMMARY);
    let text = fs::read_to_string(&summary).expect("the summary");
    let links = markdown::links(&text).into_iter();
    links
        .map(|link| resolved(&summary, &link.target).0)
        .collect()
}

#[test]
fn every_document_is_one_chapter() {
    let root = repository();
    let chapters = chapters();
    let known: BTreeSet<_> = chapters.iter().cloned().collect();
    assert_eq!(known.len(), chapters.len(), "a chapter is there twice");
    let mut all: BTreeSet<_> = files(&root.join("docs"), "md")
        .expect("the documents")
        .into_iter()
        .collect();
    all.remove(&root.join(SUMMARY));
    all.insert(root.join(COMMANDS));
    all.extend(
        [
            "README.md",
            "SECURITY.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
        ]
        .map(|name| root.join(name)),
    );
    let missing: Vec<_> = all.difference(&known).collect();
    let unknown: Vec<_> = known.difference(&all).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{SUMMARY} lacks {missing:?}, and has {unknown:?}, which is not there"
    );
}

/// On GitHub; docs/book/build gives the book the same paths.
#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let commands = repository().join(COMMANDS);
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in chapters()
        .into_iter()
        .chain([repository().join(SUMMARY)])
        .filter(|page| *page != commands)
    {
        let text = fs::read_to_string(&page).expect("a document");
        for link in markdown::links(&text) {
            if is_elsewhere(&link.target) {
                continue;
            }
            count += 1;
            let (file, anchor) = resolved(&page, &link.target);
            let there = if file == commands {
                anchor.is_none()
            } else if file.is_file() {
                // Only documents have anchors.
                anchor.is_none_or(|anchor| {
                    let text = fs::read_to_string(&file).unwrap_or_default();
                    markdown::anchors(&text).contains(&anchor)
                })
            } else {
                false
            };
            if !there {
                wrong.push(format!("{}: {}", page.display(), link.target));
            }
        }
    }
    assert!(count > 100, "{count}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every `…` of a heading stands for what a program fills in.
#[test]
fn every_message_of_the_troubleshooting_page_is_one_that_the_programs_say() {
    let page =
        fs::read_to_string(repository().join("docs/book/troubleshooting.md")).expect("the page");
    let folders = ["shim/src", "hooks/src", "cli/src"];
    let said: String = folders
        .into_iter()
        .flat_map(sources)
        .map(|source| one_line(&source.text))
        .collect();
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `"));
    let mut wrong = Vec::new();
    let mut count = 0;
    for heading in headings.filter_map(|heading| heading.strip_suffix('`')) {
        for part in heading.split('…') {
            let part = part.trim_matches([' ', ':', ',', '(', ')']);
            // `s` of `2s` and the like say nothing.
            if part.len() < 5 {
                continue;
            }
            count += 1;
            if !said.contains(part) {
                wrong.push(format!("{heading}: {part:?}"));
            }
        }
    }
    assert!(count > 60, "{count}");
    assert!(wrong.is_empty(), "no program says {wrong:#?}");
}

/// A source whose strings have no line breaks and no escaped quotes.
fn one_line(source: &str) -> String {
    let mut parts = source.split("\\\n");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.trim_start());
    }
    out.replace("\\\"", "\"")
}

#[test]
fn anchors_and_links_are_found_in_a_document() {
    let text =
        "# A `b`: c?\n## A b c\n```\n# no\n[x](y)\n```\n![p](q.svg) `[n](o)` and [r](s.md#t)\n";
    assert_eq!(markdown::anchors(text), ["a-b-c", "a-b-c-1"]);
    let links = markdown::links(text);
    let found: Vec<_> = links
        .iter()
        .map(|link| (link.target.as_str(), link.is_picture))
        .collect();
    assert_eq!(found, [("q.svg", true), ("s.md#t", false)]);
}

#[test]
fn a_broken_link_of_the_built_book_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    assert!(wrong_links(folder.path()).is_err(), "an empty book is none");
    write("a.svg", "");
    write(
        "index.html",
        "<a href=\"b/c.html#there\">c</a><img src=\"a.svg\"><a href=\"https://example.org\">x</a>",
    );
    write(
        "b/c.html",
        "<h2 id=\"there\">x</h2><a href=\"../index.html?x=1&amp;y=2\">up</a><a href=\"#there\">here</a>",
    );
    assert_eq!(
        wrong_links(folder.path()).expect("pages"),
        Vec::<String>::new()
    );
    write(
        "index.html",
        "<a href=\"b/c.html#gone\">c</a><img src=\"b.svg\"><a class=\"x\" href=\"d.html\">d</a><script src=\"https://example.org/x.js\">",
    );
    let wrong = wrong_links(folder.path()).expect("pages");
    assert_eq!(
        wrong,
        [
            "index.html: no anchor b/c.html#gone",
            "index.html: no d.html",
            "index.html: no b.svg",
            "index.html: fetches https://example.org/x.js",
        ]
    );
}
