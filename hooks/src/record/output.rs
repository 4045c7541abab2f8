//! The end of a hook's output.

/// How much of it is kept.
pub const MAX_OUTPUT_BYTES: usize = 4096;

/// The last [`MAX_OUTPUT_BYTES`] as text. It begins with a whole character; what is not UTF-8 becomes
/// U+FFFD.
pub fn tail(output: &[u8]) -> String {
    let cut = output.len().saturating_sub(MAX_OUTPUT_BYTES);
    let mut end = output.get(cut..).unwrap_or_default();
    if end.len() < output.len() {
        // At most three bytes can be the rest of a character that was cut.
        let rest = end
            .iter()
            .take(3)
            .take_while(|byte| **byte & 0xc0 == 0x80)
            .count();
        end = end.get(rest..).unwrap_or_default();
    }
    String::from_utf8_lossy(end).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_output_stays_whole() {
        assert_eq!(tail(b""), "");
        assert_eq!(tail("grüße\n".as_bytes()), "grüße\n");
        assert_eq!(tail(b"\x80a\xff"), "\u{fffd}a\u{fffd}");
    }

    #[test]
    fn a_cut_character_leaves_no_mark() {
        let kept = tail("ü".repeat(3000).as_bytes());
        assert_eq!(kept, "ü".repeat(2048));
        let kept = tail(format!("{}x", "ü".repeat(3000)).as_bytes());
        assert_eq!(kept, format!("{}x", "ü".repeat(2047)));
    }
}
