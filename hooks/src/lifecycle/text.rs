//! Text of others inside of our messages: quoted, shortened, harmless.

use std::borrow::Cow;

/// The text on one line, without anything that a terminal would act on: control characters (escape sequences
/// of C0 and C1, DEL, line breaks) and those that hide or reorder text are written as escapes.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    replaced(text, is_hidden, |out, c| match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_ascii() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c => unicode_into(out, c),
    })
}

/// The same for text that may have several lines: line ends and tabs stay.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| is_hidden(c) && !is_layout(c)) {
        return Cow::Borrowed(text);
    }
    let pieces = text.split_inclusive(['\n', '\t']).map(|piece| {
        let (rest, layout) = match piece.strip_suffix(['\n', '\t']) {
            Some(rest) => piece.split_at(rest.len()),
            None => (piece, ""),
        };
        format!("{}{layout}", visible(rest))
    });
    Cow::Owned(pieces.collect())
}

/// The same for JSON text: what its own escapes leave as it is. Such characters can stand only in strings, so
/// the value stays the same.
#[must_use]
pub fn visible_json(text: &str) -> Cow<'_, str> {
    let hidden = |c| is_hidden(c) && !is_layout(c) && c != '\r';
    replaced(text, hidden, |out, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

fn replaced(
    text: &str,
    hidden: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().saturating_add(16));
    for c in text.chars() {
        if hidden(c) {
            escape(&mut out, c);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A terminal acts on it, or shows nothing or another order for it.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                     | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                     | '\u{e0000}'..='\u{e007f}')
}

fn is_layout(c: char) -> bool {
    matches!(c, '\n' | '\t')
}

/// As Go writes it.
fn unicode_into(out: &mut String, c: char) {
    out.push_str(&match u32::from(c) {
        code @ ..=0xffff => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    });
}

/// The text with at most `max` characters; `…` stands for what was cut.
pub fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text
            .chars()
            .take(max.saturating_sub(1))
            .chain(['…'])
            .collect(),
    }
}

/// The same, with the end kept too: an error that names a command ends with the reason.
pub(crate) fn shorten_middle(text: &str, max: usize) -> String {
    let half = max / 2;
    match text.chars().count() {
        len if len > max => {
            let end = text.chars().skip(len.saturating_sub(half));
            text.chars().take(half).chain(['…']).chain(end).collect()
        }
        _ => text.to_owned(),
    }
}

/// Go's `%q` of a string, cut with `…` once it has `max` bytes.
pub fn quote(text: &str, max: usize) -> String {
    let mut out = String::new();
    quote_into(&mut out, text, max);
    out
}

/// Go's `%q` of a slice of strings, `["sh" "-c" "…"]`, cut with `…` once it has `max` bytes.
pub fn quote_all<S: AsRef<str>>(texts: &[S], max: usize) -> String {
    let mut out = String::from("[");
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let left = max.saturating_sub(out.len());
        if left == 0 {
            out.push('…');
            break;
        }
        quote_into(&mut out, text.as_ref(), left);
    }
    out.push(']');
    out
}

fn quote_into(out: &mut String, text: &str, max: usize) {
    let end = out.len().saturating_add(max);
    out.push('"');
    for c in text.chars() {
        if out.len() >= end {
            out.push('…');
            break;
        }
        escape_into(out, c);
    }
    out.push('"');
}

/// One character as Go's strconv.Quote writes it.
fn escape_into(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0b' => out.push_str("\\v"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        ' '..='~' => out.push(c),
        '\0'..='\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
        // escape_debug leaves alone what is printable, as Go does.
        _ if c.escape_debug().count() == 1 => out.push(c),
        _ => unicode_into(out, c),
    }
}

/// Phrases from which Docker concludes that the entrypoint could not be run (exit codes 126, 127).
const MISLEADING: [&str; 5] = [
    "permission denied",
    "is a directory",
    "not a directory",
    "no such file or directory",
    "executable file not found",
];

/// The text with the phrases broken up (`permission-denied`) that Docker takes, wherever in the error
/// of a start they stand, for a failure to run the container's entrypoint. For text that is not
/// itself the reason of the failure: a hook's command, its output.
pub fn neutral(text: &str) -> String {
    // ASCII lower case keeps every byte where it is.
    let lower = text.to_ascii_lowercase();
    let mut bytes = text.as_bytes().to_vec();
    for phrase in MISLEADING {
        for (at, _) in lower.match_indices(phrase) {
            for byte in bytes.iter_mut().skip(at).take(phrase.len()) {
                if *byte == b' ' {
                    *byte = b'-';
                }
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_as_go_does() {
        assert_eq!(
            quote("a\"b\\c\n\x01\x7f é\u{200e}\u{e0001}", 100),
            r#""a\"b\\c\n\x01\x7f é\u200e\U000e0001""#
        );
        assert_eq!(
            quote_all(&["sh", "-c", "echo \"hi\""], 100),
            r#"["sh" "-c" "echo \"hi\""]"#
        );
        assert_eq!(quote_all::<&str>(&[], 100), "[]");
    }

    #[test]
    fn a_terminal_sees_no_escape_sequence() {
        let evil = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\rgone\n\u{202e}txt\x7f\0";
        assert_eq!(
            visible(evil),
            "\\x1b]0;owned\\x07\\x1b[2J\\u009b31m\\rgone\\n\\u202etxt\\x7f\\x00"
        );
        assert_eq!(visible("a\u{e0041}"), "a\\U000e0041");
        assert!(matches!(visible("grüße 日本 नमस्ते"), Cow::Borrowed(_)));
    }

    #[test]
    fn text_of_several_lines_keeps_them() {
        assert_eq!(
            visible_lines("one\ttwo\x1b[2J\r\nthree\u{202e}\n\n"),
            "one\ttwo\\x1b[2J\\r\nthree\\u202e\n\n"
        );
        assert!(matches!(visible_lines("a\n\tb\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"output": "\x1b[31m\u{9b}2J\u{202e}\u{e0041}\x7f ü\n"});
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let text = visible_json(&pretty);
        assert!(
            !text.contains(|c: char| c != '\n' && is_hidden(c)),
            "{text:?}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }

    #[test]
    fn long_text_is_cut_whatever_it_holds() {
        let quoted = quote(&"\u{e0001}".repeat(100_000), 64);
        assert!(quoted.len() < 90 && quoted.ends_with("…\""), "{quoted}");
        let all = quote_all(&vec!["x"; 100_000], 64);
        assert!(all.len() < 90 && all.ends_with("…]"), "{all}");
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
        assert_eq!(shorten_middle("äöüß", 4), "äöüß");
        assert_eq!(shorten_middle("äöüßé", 4), "äö…ßé");
    }

    #[test]
    fn phrases_docker_reads_exit_codes_from_are_broken_up() {
        let text = "Permission Denied: é no such file or directory, executable file not found in $PATH, /a is a directory";
        let neutral = neutral(text);
        assert_eq!(
            neutral,
            "Permission-Denied: é no-such-file-or-directory, executable-file-not-found in $PATH, /a is-a-directory"
        );
        assert_eq!(super::neutral("all fine"), "all fine");
    }
}
