//! What somebody may have meant by a word that is not known.

/// A longer word is no slip of the keyboard, and would take long to compare.
const MAX_CHARS: usize = 64;
/// Slips in a long word.
const MAX_SLIPS: usize = 3;

/// The known word that is most like the given one, where one is like it: a third of the letters may be wrong, missing,
/// too much or swapped with their neighbour. Upper and lower case are the same.
pub fn similar<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.chars().count() > MAX_CHARS {
        return None;
    }
    known
        .into_iter()
        .filter_map(|word| {
            let slips = slips(given, word);
            let shorter = given.chars().count().min(word.chars().count());
            (slips <= (shorter / 3).min(MAX_SLIPS)).then_some((slips, word))
        })
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, word)| word)
}

/// Whether a word is another, but for so many slips.
pub fn is_like(given: &str, word: &str, most: usize) -> bool {
    given.chars().count() <= MAX_CHARS && slips(given, word) <= most
}

/// `, did you mean "command"?`, or nothing.
pub fn did_you_mean(meant: Option<&str>) -> String {
    meant
        .map(|word| format!(", did you mean {word:?}?"))
        .unwrap_or_default()
}

/// How many letters differ.
fn slips(a: &str, b: &str) -> usize {
    strsim::osa_distance(&a.to_lowercase(), &b.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_seen_through_and_nothing_is_guessed() {
        let known = ["command", "preStop", "postStart", "exec", "sleep", "port"];
        for (given, meant) in [
            ("comand", Some("command")),
            ("commands", Some("command")),
            ("prestop", Some("preStop")),
            ("pre_stop", Some("preStop")),
            ("exce", Some("exec")),
            ("slep", Some("sleep")),
            ("proto", None),
            ("grpc", None),
            ("x", None),
            ("", None),
            ("host", None),
        ] {
            assert_eq!(similar(given, known), meant, "{given}");
        }
        assert_eq!(similar("a", ["b"]), None, "nothing of it is alike");
        assert_eq!(similar(&"command".repeat(10_000), known), None);
    }

    #[test]
    fn slips_are_letters_changed_missing_added_and_swapped() {
        for (a, b, count) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "axc", 1),
            ("abc", "abcd", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(slips(a, b), count, "{a} {b}");
        }
    }
}
