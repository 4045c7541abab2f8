//! `$(VAR)` in commands, arguments and environment values
//! (Kubernetes `third_party/forked/golang/expansion`).

/// Replaces `$(VAR)` by what `lookup` knows. An unknown variable stays as written; `$$` is a `$`,
/// so `$$(VAR)` is the text `$(VAR)`.
pub(super) fn expand(input: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('(') {
            match after.split_once(')') {
                Some((name, after)) => {
                    match lookup(name) {
                        Some(value) => out.push_str(&value),
                        None => out.push_str(&format!("$({name})")),
                    }
                    rest = after;
                }
                None => {
                    out.push_str("$(");
                    rest = after;
                }
            }
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn as_kubernetes_expands() {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("$(A)".to_owned()),
            _ => None,
        };
        for (input, expected) in [
            ("$(A)", "a"),
            ("x-$(A)-$(A)", "x-a-a"),
            ("$(EMPTY)", ""),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$(NESTED)", "$(A)"),
            ("é$(A)é$é", "éaé$é"),
            ("$$", "$"),
        ] {
            assert_eq!(expand(input, lookup), expected, "{input}");
        }
    }
}
