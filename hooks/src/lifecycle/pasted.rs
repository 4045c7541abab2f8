//! What people put into the annotation instead of the JSON of a lifecycle: its YAML, and the whole of a
//! manifest's `lifecycle:`. The message says what to write.

/// The manifest's field, whose value the annotation has.
pub(super) const FIELD: &str = "lifecycle";

/// Of JSON with that field.
pub(super) const TOO_MUCH: &str =
    r#"is one level too much: write what is in it, as {"preStop": {"sleep": {"seconds": 5}}}"#;

/// What to add to the JSON parser's message, if the text looks like YAML.
pub(super) fn hint(text: &str) -> Option<String> {
    // Comments and the start of a document come before the first field.
    let first = text.lines().map(str::trim_start).find(|line| {
        let line = line.trim_end();
        !line.is_empty() && line != "---" && !line.starts_with('#')
    })?;
    let key = first.trim_start_matches(['{', ' ']);
    let (key, _) = key.split_once(':')?;
    let key = key.trim_end();
    let example = match key {
        FIELD | "preStop" => r#"{"preStop": {"sleep": {"seconds": 5}}}"#,
        "postStart" => r#"{"postStart": {"exec": {"command": ["sh", "-c", "…"]}}}"#,
        "stopSignal" => r#"{"stopSignal": "SIGQUIT"}"#,
        "terminationGracePeriodSeconds" => r#"{"terminationGracePeriodSeconds": 60}"#,
        "output" => r#"{"output": "container"}"#,
        _ => return None,
    };
    let without = if key == FIELD {
        ", without the word lifecycle"
    } else {
        ""
    };
    Some(format!(
        ": it looks like YAML, and must be JSON{without}: {example}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::parse;

    #[test]
    fn yaml_is_told_from_broken_json() {
        for text in [
            "preStop: {sleep: {seconds: 5}}",
            "# drain\n---\n\n  preStop:\n    sleep: {}",
            "{preStop: {sleep: {seconds: 5}}}",
            "postStart :\n",
            "lifecycle:\n  preStop: {}\n",
        ] {
            assert!(hint(text).is_some(), "{text}");
        }
        for text in [
            "",
            "{",
            r#"{"preStop": {"#,
            "hello: world",
            ":",
            "{}}",
            "---",
        ] {
            assert_eq!(hint(text), None, "{text}");
        }
        assert!(hint("lifecycle: {}").is_some_and(|hint| hint.contains("without the word")));
    }

    #[test]
    fn every_field_has_an_example_that_is_accepted() {
        let ports = crate::lifecycle::Ports::Unknown;
        for field in parse::FIELDS.into_iter().chain([FIELD]) {
            let hint = hint(&format!("{field}: x")).unwrap();
            let example = &hint[hint.find('{').unwrap()..];
            crate::lifecycle::Lifecycle::from_json(example, &ports).unwrap();
        }
        let example = &TOO_MUCH[TOO_MUCH.find('{').unwrap()..];
        crate::lifecycle::Lifecycle::from_json(example, &ports).unwrap();
    }
}
