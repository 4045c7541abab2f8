//! Lines of a text.

use super::tree::Place;

/// Where the line of a byte begins.
pub(super) fn start(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.rfind('\n').map_or(0, |end| end.saturating_add(1))
}

/// Where the line after that of a byte begins.
pub(super) fn next(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.find('\n')
        .map_or(text.len(), |end| at.saturating_add(end).saturating_add(1))
}

/// What stands before a byte on its line.
pub(super) fn before(text: &str, at: usize) -> &str {
    text.get(start(text, at)..at).unwrap_or_default()
}

/// The line of a byte, without its end.
pub(super) fn whole(text: &str, at: usize) -> &str {
    let line = text
        .get(start(text, at)..next(text, at))
        .unwrap_or_default();
    line.trim_end_matches(['\n', '\r'])
}

/// How the text ends its lines: as it ends the first.
pub(super) fn ending(text: &str) -> &'static str {
    match text.split_once('\n') {
        Some((first, _)) if first.ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Line and column of a byte.
pub(super) fn place(text: &str, byte: usize) -> Place {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let column = self::before(text, byte)
        .trim_start_matches('\u{feff}')
        .chars()
        .count()
        .saturating_add(1);
    Place { byte, line, column }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_around_a_byte() {
        let text = "ab\r\ncd\nü e";
        assert_eq!((start(text, 5), next(text, 5)), (4, 7));
        assert_eq!((start(text, 10), next(text, 10)), (7, text.len()));
        assert_eq!((whole(text, 1), before(text, 5)), ("ab", "c"));
        assert_eq!(
            (ending(text), ending("a\nb\r\n"), ending("")),
            ("\r\n", "\n", "\n")
        );
        let place = place(text, 10);
        assert_eq!((place.line, place.column), (3, 3));
    }
}
