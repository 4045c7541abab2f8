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
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    similar(given, known)
        .map(|word| format!(", did you mean {word:?}?"))
        .unwrap_or_default()
}

/// How many letters differ (optimal string alignment, a row of its table at a time).
fn slips(a: &str, b: &str) -> usize {
    let lower = |text: &str| -> Vec<char> { text.chars().flat_map(char::to_lowercase).collect() };
    let (a, b) = (lower(a), lower(b));
    let at = |row: &[usize], i: usize| row.get(i).copied().unwrap_or(usize::MAX);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut above: Option<char> = None;
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i.saturating_add(1)];
        let mut left: Option<char> = None;
        for (j, to) in b.iter().enumerate() {
            let next = j.saturating_add(1);
            let changed = at(&last, j).saturating_add((from != to).into());
            let one_more = at(&last, next).min(at(&row, j)).saturating_add(1);
            let mut best = changed.min(one_more);
            if above == Some(*to) && left == Some(*from) {
                let swapped = at(&before, j.saturating_sub(1)).saturating_add(1);
                best = best.min(swapped);
            }
            row.push(best);
            left = Some(*to);
        }
        above = Some(*from);
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
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
