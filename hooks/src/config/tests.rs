//! What the keys' own tests read configurations with, and what holds for all keys.

use super::Config;
use super::node::{names, rows};

/// The configuration that this text is.
pub(super) fn given(text: &str) -> Config {
    Config::parse(text, "config.toml").unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// This text is refused for this reason.
#[track_caller]
pub(super) fn refused(text: &str, reason: &str) {
    let error = Config::parse(text, "config.toml").map_err(|error| error.to_string());
    assert_eq!(error, Err(format!("config.toml: {reason}")), "for {text:?}");
}

#[test]
fn no_two_keys_have_the_same_name() {
    let mut names = names();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn the_default_that_the_table_shows_is_the_default() {
    for row in rows() {
        // What has no value of its own in the file is told in words.
        let Some(shown) = row.default.strip_prefix('`') else {
            continue;
        };
        // Nothing said is not the same as runc: containerd's options may say something else.
        if ["runtime", "root"].contains(&row.shown) {
            continue;
        }
        let value = shown.trim_end_matches('`');
        let text = format!("{} = {value}", row.shown);
        let quoted = format!("{} = \"{value}\"", row.shown);
        let config = Config::parse(&text, "config.toml").unwrap_or_else(|_| given(&quoted));
        assert_eq!(config, given(""), "{text}");
    }
}
