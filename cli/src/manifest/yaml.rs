//! YAML as kubectl reads it (sigs.k8s.io/yaml: YAML 1.1), and what is wrong with it in words for its author.

use std::borrow::Cow;

use serde_json::Value;
use serde_saphyr::{Error, MessageFormatter, Options, UserMessageFormatter};

/// Reads all documents of a text; empty ones are none.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut options = Options::default();
    // `mode: 0777` is 511.
    options.legacy_octal_numbers = true;
    // One line, as kubectl's.
    options.with_snippet = false;
    serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|e| e.render_with_formatter(&Words))
}

/// The library's own words are for its callers.
struct Words;

impl MessageFormatter for Words {
    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        match error {
            Error::DuplicateMappingKey { key: Some(key), .. } => {
                Cow::Owned(format!("key {key:?} is there twice"))
            }
            Error::DuplicateMappingKey { key: None, .. } => Cow::Borrowed("a key is there twice"),
            _ => UserMessageFormatter.format_message(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Value {
        documents(text).unwrap().remove(0)
    }

    #[test]
    fn numbers_and_booleans_are_kubectls() {
        let text = "a: 0777\nb: 0o17\nc: 0x1f\nd: yes\ne: off\nf: \"0777\"\ng: 0\nh: -010\ni: 0b11\nj: 1_000\nk: 10\nl: 0.5\n";
        let expected = json!({
            "a": 511, "b": 15, "c": 31, "d": true, "e": false, "f": "0777", "g": 0, "h": -8, "i": 3,
            "j": 1000, "k": 10, "l": 0.5,
        });
        assert_eq!(one(text), expected);
    }

    #[test]
    fn a_key_that_is_there_twice_is_named_with_its_line_and_nothing_of_the_library() {
        let error = documents("a: 1\nspec:\n  name: x\n  name: y\n").unwrap_err();
        assert!(error.contains("key \"name\" is there twice"), "{error}");
        assert!(error.contains("line 4"), "{error}");
        assert!(
            !error.contains("Policy") && !error.contains("Options"),
            "{error}"
        );
    }

    #[test]
    fn no_error_tells_an_author_how_to_program() {
        let bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned()
            + &(0..9u8)
                .map(|i| {
                    let (this, last) = (char::from(b'b' + i), char::from(b'a' + i));
                    format!("{this}: &{this} [{}]\n", format!("*{last}, ").repeat(9))
                })
                .collect::<String>();
        for text in [
            "a: [",
            "a: *x",
            "a: !!binary x",
            "a: !!int x",
            "- a\nb: c",
            "a: \t- b",
            "\"\\q\"",
            "a: .nan",
            "%YAML",
            "? a\n: b\n? a\n",
            "<<: 5",
            &bomb,
        ] {
            let Err(error) = documents(text) else {
                continue;
            };
            for word in [
                "Options",
                "Policy",
                "serde",
                "deserialize",
                "enable",
                "feature",
            ] {
                assert!(!error.contains(word), "{text:?}: {error}");
            }
        }
    }
}
