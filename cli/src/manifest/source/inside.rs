//! Where in the text a part of a string's value stands.

use granit_parser::ScalarStyle;

use super::lines;
use super::tree::{Kind, Node};

/// The byte of the text for a byte of a string's value; none where the way between the two is not followed.
pub(super) fn offset(text: &str, node: &Node, at: usize) -> Option<usize> {
    let Kind::Scalar { text: value, style } = &node.kind else {
        return None;
    };
    let start = node.place.byte;
    let source = text.get(start..)?;
    let before = value.get(..at.min(value.len()))?;
    let inner = match style {
        ScalarStyle::Plain if !before.contains('\n') => flow(source, before, |_| None),
        ScalarStyle::SingleQuoted => {
            let quote = |rest: &str| rest.starts_with("''").then_some((2, '\''));
            flow(source.get(1..)?, before, quote).map(|at| at.saturating_add(1))
        }
        ScalarStyle::DoubleQuoted => {
            flow(source.get(1..)?, before, escape).map(|at| at.saturating_add(1))
        }
        ScalarStyle::Literal => literal(text, start, before),
        ScalarStyle::Plain | ScalarStyle::Folded => None,
    };
    Some(start.saturating_add(inner.unwrap_or(0)))
}

/// Walks text and value side by side. `special` reads what stands for another character: its length, and that.
fn flow(source: &str, value: &str, special: fn(&str) -> Option<(usize, char)>) -> Option<usize> {
    let mut at = 0_usize;
    let mut value = value.chars().peekable();
    while let Some(wanted) = value.next() {
        let rest = source.get(at..)?;
        if let Some((len, character)) = special(rest) {
            at = at.saturating_add(len);
            if character != wanted {
                return None;
            }
            continue;
        }
        let fold = rest
            .len()
            .saturating_sub(rest.trim_start_matches([' ', '\t', '\r', '\n']).len());
        if rest.get(..fold)?.contains('\n') {
            // A break between two lines is a space, or as many breaks as there are blank lines.
            while wanted == '\n' && value.next_if_eq(&'\n').is_some() {}
            at = at.saturating_add(fold);
            continue;
        }
        let character = rest.chars().next()?;
        if character != wanted {
            return None;
        }
        at = at.saturating_add(character.len_utf8());
    }
    Some(at)
}

/// An escape in double quotes.
fn escape(rest: &str) -> Option<(usize, char)> {
    let mut characters = rest.strip_prefix('\\')?.chars();
    let kind = characters.next()?;
    let digits = match kind {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => 0_usize,
    };
    if digits > 0 {
        let code: String = characters.take(digits).collect();
        let character = char::from_u32(u32::from_str_radix(&code, 16).ok()?)?;
        return Some((digits.saturating_add(2), character));
    }
    let character = match kind {
        'n' => '\n',
        't' | '\t' => '\t',
        'r' => '\r',
        '0' => '\0',
        'a' => '\x07',
        'b' => '\x08',
        'e' => '\x1b',
        'f' => '\x0c',
        'v' => '\x0b',
        '_' => '\u{a0}',
        'N' => '\u{85}',
        'L' => '\u{2028}',
        'P' => '\u{2029}',
        '"' | '\\' | '/' | ' ' => kind,
        _ => return None,
    };
    Some((kind.len_utf8().saturating_add(1), character))
}

/// In a block its lines are the value's, each after the block's indentation.
fn literal(text: &str, start: usize, before: &str) -> Option<usize> {
    let indent = lines::before(text, start).len();
    let mut line = lines::start(text, start);
    for _ in before.matches('\n') {
        line = lines::next(text, line);
    }
    let last = before.rsplit('\n').next().unwrap_or_default();
    let at = line.saturating_add(indent).saturating_add(last.len());
    at.min(text.len()).checked_sub(start)
}
