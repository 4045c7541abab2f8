//! The links of the built book.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Link, files, is_elsewhere, resolved};

/// What is wrong with the pages below a folder, one a line: links to files or anchors that are not there, pictures that are missing,
/// and parts that would be fetched from elsewhere.
///
/// # Errors
/// When the folder cannot be read, or has no page.
pub fn wrong_links(folder: &Path) -> io::Result<Vec<String>> {
    let pages = files(folder, "html")?;
    if pages.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no pages"));
    }
    let mut texts = BTreeMap::new();
    for page in pages {
        let text = fs::read_to_string(&page)?;
        texts.insert(page, text);
    }
    let anchors: BTreeMap<&PathBuf, BTreeSet<String>> = texts
        .iter()
        .map(|(page, text)| (page, values(text, "id").into_iter().collect()))
        .collect();
    let mut wrong = Vec::new();
    for (page, text) in &texts {
        for link in links(text) {
            let shown = page.strip_prefix(folder).unwrap_or(page).display();
            if is_elsewhere(&link.target) {
                if link.is_picture && !link.target.starts_with("data:") {
                    wrong.push(format!("{shown}: fetches {}", link.target));
                }
                continue;
            }
            let (file, anchor) = resolved(page, &link.target);
            if !file.is_file() {
                wrong.push(format!("{shown}: no {}", link.target));
            } else if let Some(anchor) = anchor.filter(|anchor| !anchor.is_empty())
                && !anchors
                    .get(&file)
                    .is_some_and(|known| known.contains(&anchor))
            {
                wrong.push(format!("{shown}: no anchor {}", link.target));
            }
        }
    }
    Ok(wrong)
}

fn links(text: &str) -> Vec<Link> {
    let of = |attribute, is_picture| {
        let targets = values(text, attribute).into_iter();
        targets.map(move |target| Link { target, is_picture })
    };
    of("href", false).chain(of("src", true)).collect()
}

/// The values of an attribute; what a script or a text has is none.
fn values(text: &str, attribute: &str) -> Vec<String> {
    let begin = format!(" {attribute}=\"");
    let value = |tag: &str| {
        let tag = tag.split_once('>').map_or(tag, |(tag, _)| tag);
        let (_, rest) = tag.split_once(&begin)?;
        let (value, _) = rest.split_once('"')?;
        Some(value.replace("&amp;", "&"))
    };
    text.split('<').skip(1).filter_map(value).collect()
}
