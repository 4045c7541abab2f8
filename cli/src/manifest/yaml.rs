//! YAML as kubectl reads it (sigs.k8s.io/yaml: YAML 1.1), and what is wrong with it in words for its author.

use std::borrow::Cow;

use serde_json::Value;
use serde_saphyr::{Error, Localizer, Location, MessageFormatter, Options, UserMessageFormatter};

/// Reads all documents of a text; empty ones are none.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    read(text).map_err(|wrong| wrong.to_string())
}

/// What is wrong with a text, and where; both counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) reason: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// The reason, with the place where the library puts it.
    shown: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// [`documents`], for who wants the place by itself.
pub(crate) fn read(text: &str) -> Result<Vec<Value>, Wrong> {
    let mut options = Options::default();
    // `mode: 0777` is 511.
    options.legacy_octal_numbers = true;
    // One line, as kubectl's.
    options.with_snippet = false;
    let mut text = Cow::Borrowed(text);
    let mut words = Words::default();
    loop {
        let read = serde_saphyr::from_multiple_with_options(&text, options.clone());
        let error = match read {
            Ok(mut documents) => {
                documents.iter_mut().for_each(whole_numbers);
                return Ok(documents);
            }
            Err(error) => error,
        };
        let Some(quoted) = lone_dash(&error, &text).filter(|_| words.quoted.len() < MAX_DASHES)
        else {
            return Err(words.wrong(&error));
        };
        words.quoted.extend(error.location());
        text = Cow::Owned(quoted);
    }
}

/// Each is one more reading of the text.
const MAX_DASHES: usize = 1000;

/// What the library says of `[tar, xf, -, -C]`: to YAML 1.2 a lone dash in brackets is no string, to kubectl it is.
const LONE_DASH: &str = "plain scalar cannot start with '-' followed by";

/// The text with that dash in quotes, if that is what is wrong with it. The parser has said that a plain scalar begins
/// there, so it stands in no comment and in no other string; what follows ends it.
fn lone_dash(error: &Error, text: &str) -> Option<String> {
    let Error::ExternalMessage { msg, location, .. } = error else {
        return None;
    };
    let offset = usize::try_from(location.span().offset()).ok()?;
    let (at, _) = text.char_indices().nth(offset)?;
    let (before, rest) = text.split_at(at);
    let after = rest.strip_prefix('-')?;
    msg.starts_with(LONE_DASH)
        .then(|| format!("{before}\"-\"{after}"))
}

/// To JSON as Go writes it, which kubectl sends, `5.0` is 5.
fn whole_numbers(value: &mut Value) {
    /// From here on a float does not tell an integer from its neighbours.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Number(number) if number.is_f64() => {
            let whole = |float: &f64| float.fract() == 0.0 && float.abs() < EXACT;
            let integer = number
                .as_f64()
                .filter(whole)
                .and_then(|float| format!("{float:.0}").parse::<i64>().ok());
            if let Some(integer) = integer {
                *number = integer.into();
            }
        }
        _ => {}
    }
}

/// The library's own words are for its callers.
#[derive(Default)]
struct Words {
    /// The dashes that have been put in quotes.
    quoted: Vec<Location>,
    /// Whether the place is said elsewhere.
    without_place: bool,
}

impl Words {
    fn wrong(self, error: &Error) -> Wrong {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let place = error.location();
        let shown = error.render_with_formatter(&self);
        let line = place.map_or(1, |place| number(place.line()).max(1));
        let column = place.map_or(1, |place| number(self.column(place)).max(1));
        let bare = Self {
            without_place: true,
            ..self
        };
        Wrong {
            reason: error.render_with_formatter(&bare),
            line,
            column,
            shown,
        }
    }

    /// Where it stands in the text as its author wrote it.
    fn column(&self, location: Location) -> u64 {
        let (line, column) = (location.line(), location.column());
        let before = |dash: &&Location| dash.line() == line && dash.column() < column;
        let quotes: u64 = self.quoted.iter().filter(before).map(|_| 2).sum();
        column.saturating_sub(quotes)
    }
}

impl Localizer for Words {
    fn attach_location<'a>(&self, base: Cow<'a, str>, location: Location) -> Cow<'a, str> {
        let line = location.line();
        if line == 0 || self.without_place {
            return base;
        }
        let column = self.column(location);
        Cow::Owned(format!("{base} at line {line}, column {column}"))
    }
}

impl MessageFormatter for Words {
    fn localizer(&self) -> &dyn Localizer {
        self
    }

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
        let text = "a: 0777\nb: 0o17\nc: 0x1f\nd: yes\ne: off\nf: \"0777\"\ng: 0\nh: -010\ni: 0b11\nj: 1_000\nk: 10\nl: 0.5\nm: 5.0\nn: [1e1, -0.0]\no: \"5.0\"\np: 1e300\n";
        let expected = json!({
            "a": 511, "b": 15, "c": 31, "d": true, "e": false, "f": "0777", "g": 0, "h": -8, "i": 3,
            "j": 1000, "k": 10, "l": 0.5, "m": 5, "n": [10, 0], "o": "5.0", "p": 1e300,
        });
        assert_eq!(one(text), expected);
    }

    #[test]
    fn a_lone_dash_in_brackets_is_a_string_as_for_kubectl() {
        let text = "ü: [tar, xf, -, -C, /x] # [-]\nb: {a: -, -}\nc: [-]\nd: '[-]'\ne: |\n  [-, -]\n---\n[-,-\n]\n";
        let expected = json!({
            "ü": ["tar", "xf", "-", "-C", "/x"], "b": {"a": "-", "-": null}, "c": ["-"], "d": "[-]", "e": "[-, -]\n",
        });
        let first = "[-,-]";
        assert_eq!(documents(first).unwrap(), [json!(["-", "-"])]);
        assert_eq!(
            documents(text.split("---").next().unwrap()).unwrap(),
            std::slice::from_ref(&expected)
        );
        assert_eq!(
            documents(&text.replace("-\n]", "-]")).unwrap(),
            [expected, json!(["-", "-"])]
        );
    }

    #[test]
    fn what_is_wrong_after_a_lone_dash_is_named_where_it_stands() {
        for text in ["a: [-, x, 'y' z]\n", "a: [q, x, 'y' z]\n"] {
            let error = documents(text).unwrap_err();
            assert!(error.contains("line 1, column 15"), "{error}");
        }
        for text in ["a: [-[]]", "a: [- x]", "a: [-,", &"a: [-,\n".repeat(3)] {
            assert!(documents(text).is_err(), "{text}");
        }
        let many = format!("[{}]", "-,".repeat(MAX_DASHES + 1));
        assert!(documents(&many).unwrap_err().contains(LONE_DASH));
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
