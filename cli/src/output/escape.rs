//! Text that a container controls, on a terminal.

use std::borrow::Cow;

/// The text without anything that a terminal would act on: control characters (escape sequences of
/// C0 and C1, line breaks) and those that change the direction of text are written as escapes.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if !is_hidden(c) => out.push(c),
            c if c.is_ascii() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    Cow::Owned(out)
}

/// The same for JSON text: what its own escapes leave as it is. Such characters can stand only in
/// strings, so the value stays the same.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| is_hidden(c) && c != '\n' && c != '\t' && c != '\r';
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if hidden(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                     | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_sees_no_escape_sequence() {
        let evil = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\rgone\n\u{202e}txt\x7f";
        assert_eq!(
            visible(evil),
            "\\x1b]0;owned\\x07\\x1b[2J\\u009b31m\\rgone\\n\\u202etxt\\x7f"
        );
        assert!(matches!(visible("grüße 日本"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"output": "\x1b[31m\u{9b}2J\u{202e}\x7f ü\n"});
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let text = json(&pretty);
        assert!(
            !text.contains(|c: char| c != '\n' && is_hidden(c)),
            "{text:?}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }
}
