//! Patterns for names: `*` is any text, `?` any character.

/// Whether the whole of `text` is as `pattern` says. `*` matches `/` too. Linear in the pattern's stars.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // The last star, and how far its text went.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p = p.saturating_add(1);
            }
            Some(c) if *c == '?' || text.get(t) == Some(c) => {
                p = p.saturating_add(1);
                t = t.saturating_add(1);
            }
            _ => match &mut star {
                Some((at, end)) => {
                    *end = end.saturating_add(1);
                    (p, t) = (at.saturating_add(1), *end);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text) in [
            ("nginx", "nginx"),
            ("*", ""),
            ("*", "a/b"),
            ("docker.io/library/nginx:*", "docker.io/library/nginx:1.27"),
            ("*/nginx:*", "docker.io/library/nginx:1.27"),
            ("web-?", "web-0"),
            ("a*b*c", "axxbxxbc"),
            ("**", "x"),
            ("é?", "éü"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("nginx", "nginx:1"),
            ("", "x"),
            ("web-?", "web-10"),
            ("web-?", "web-"),
            ("a*b", "abc"),
            ("[a]", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_name_takes_no_time() {
        let pattern = "*a".repeat(20) + "b";
        assert!(!matches(&pattern, &"a".repeat(2000)));
    }
}
