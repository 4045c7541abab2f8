//! The links and anchors of a document, as GitHub and mdBook have them.

use std::collections::BTreeMap;

use super::Link;

/// The lines that are no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// A line without what is between backquotes.
fn without_code(line: &str) -> String {
    let mut parts = line.split('`');
    let mut out = parts.next().unwrap_or_default().to_owned();
    while let Some(code) = parts.next() {
        match parts.next() {
            Some(rest) => out.push_str(rest),
            // A backquote without a second one.
            None => out.push_str(code),
        }
    }
    out
}

pub(super) fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for line in prose(text) {
        let line = without_code(line);
        let mut rest = line.as_str();
        while let Some((before, after)) = rest.split_once("](") {
            let (target, after) = after.split_once(')').unwrap_or((after, ""));
            let label = before.rfind('[').unwrap_or_default();
            let is_picture = before[..label].ends_with('!');
            found.push(Link {
                target: target.to_owned(),
                is_picture,
            });
            rest = after;
        }
    }
    found
}

/// The anchors of the headings.
pub(super) fn anchors(text: &str) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let times = seen.entry(slug.clone()).or_default();
            *times += 1;
            match *times {
                1 => slug,
                times => format!("{slug}-{}", times - 1),
            }
        })
        .collect()
}
