//! Text of others inside of our messages: quoted, shortened, harmless.

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
        if out.len() >= max {
            out.push('…');
            break;
        }
        let left = max - out.len();
        quote_into(&mut out, text.as_ref(), left);
    }
    out.push(']');
    out
}

fn quote_into(out: &mut String, text: &str, max: usize) {
    let end = out.len() + max;
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
        '\u{80}'..='\u{ffff}' => out.push_str(&format!("\\u{:04x}", c as u32)),
        _ => out.push_str(&format!("\\U{:08x}", c as u32)),
    }
}

/// Phrases from which Docker concludes that the entrypoint could not be run (exit codes 126, 127).
const MISLEADING: [&str; 3] = [
    "permission denied",
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
            for byte in &mut bytes[at..at + phrase.len()] {
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
    fn long_text_is_cut_whatever_it_holds() {
        let quoted = quote(&"\u{e0001}".repeat(100_000), 64);
        assert!(quoted.len() < 90 && quoted.ends_with("…\""), "{quoted}");
        let all = quote_all(&vec!["x"; 100_000], 64);
        assert!(all.len() < 90 && all.ends_with("…]"), "{all}");
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
    }

    #[test]
    fn phrases_docker_reads_exit_codes_from_are_broken_up() {
        let text =
            "Permission Denied: é no such file or directory, executable file not found in $PATH";
        let neutral = neutral(text);
        assert_eq!(
            neutral,
            "Permission-Denied: é no-such-file-or-directory, executable-file-not-found in $PATH"
        );
        assert_eq!(super::neutral("all fine"), "all fine");
    }
}
