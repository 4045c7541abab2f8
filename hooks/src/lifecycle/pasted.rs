//! What people put into the annotation instead of the JSON of a lifecycle: its YAML, and the whole of a
//! manifest's `lifecycle:`. The message says what to write.

use super::error::FieldError;

/// The manifest's field, whose value the annotation has.
pub(super) const FIELD: &str = "lifecycle";

const PRE_STOP: &str = r#"{"preStop": {"sleep": {"seconds": 5}}}"#;

/// Of JSON with that field.
pub(super) fn too_much() -> FieldError {
    FieldError {
        example: Some(PRE_STOP),
        ..FieldError::new(FIELD, "is one level too much, write what is in it")
    }
}

/// Of text that is no JSON, for this reason.
pub(super) fn no_json(text: &str, reason: &str) -> FieldError {
    let reason = format!("is not valid JSON: {reason}");
    match yaml(text) {
        Some((example, without)) => FieldError {
            example: Some(example),
            ..FieldError::new(
                "",
                format!("{reason}: it looks like YAML, and must be JSON{without}"),
            )
        },
        None => FieldError::new("", reason),
    }
}

/// An example for text that looks like YAML, and what is to be left out.
fn yaml(text: &str) -> Option<(&'static str, &'static str)> {
    // Comments and the start of a document come before the first field.
    let first = text.lines().map(str::trim_start).find(|line| {
        let line = line.trim_end();
        !line.is_empty() && line != "---" && !line.starts_with('#')
    })?;
    let (key, _) = first.trim_start_matches(['{', ' ']).split_once(':')?;
    Some(match key.trim_end() {
        FIELD => (PRE_STOP, ", without the word lifecycle"),
        "preStop" => (PRE_STOP, ""),
        "postStart" => (
            r#"{"postStart": {"exec": {"command": ["sh", "-c", "…"]}}}"#,
            "",
        ),
        "stopSignal" => (r#"{"stopSignal": "SIGQUIT"}"#, ""),
        "terminationGracePeriodSeconds" => (r#"{"terminationGracePeriodSeconds": 60}"#, ""),
        "output" => (r#"{"output": "container"}"#, ""),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{Lifecycle, Ports, parse};

    #[test]
    fn yaml_is_told_from_broken_json() {
        for text in [
            "preStop: {sleep: {seconds: 5}}",
            "# drain\n---\n\n  preStop:\n    sleep: {}",
            "{preStop: {sleep: {seconds: 5}}}",
            "postStart :\n",
            "lifecycle:\n  preStop: {}\n",
        ] {
            assert!(yaml(text).is_some(), "{text}");
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
            assert_eq!(yaml(text), None, "{text}");
        }
    }

    #[test]
    fn every_field_has_an_example_that_is_accepted() {
        for field in parse::FIELDS.into_iter().chain([FIELD]) {
            let (example, _) = yaml(&format!("{field}: x")).unwrap();
            Lifecycle::from_json(example, &Ports::Unknown).unwrap();
        }
    }
}
