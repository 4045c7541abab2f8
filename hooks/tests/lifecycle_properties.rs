//! The parser on anything at all.

use std::collections::BTreeMap;

use podhook_hooks::lifecycle::{Lifecycle, Policy, Ports};
use proptest::prelude::*;
use serde_json::{Value, json};

/// JSON that is near a lifecycle: its own field names with values of every kind.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-2i32..70_000).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        proptest::sample::select(vec![
            "SIGTERM",
            "Kill",
            "Ignore",
            "HTTP",
            "http",
            "container",
            "/"
        ])
        .prop_map(Value::from),
    ];
    let names = vec![
        "postStart",
        "preStop",
        "stopSignal",
        "terminationGracePeriodSeconds",
        "output",
        "exec",
        "command",
        "httpGet",
        "path",
        "port",
        "host",
        "scheme",
        "httpHeaders",
        "name",
        "value",
        "tcpSocket",
        "sleep",
        "seconds",
        "timeoutSeconds",
        "onFailure",
        "x",
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let name = proptest::sample::select(names.clone()).prop_map(str::to_owned);
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => proptest::collection::btree_map(name, inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

fn message(text: &str) -> Option<String> {
    let annotations = BTreeMap::from([("podhook.dev/lifecycle".to_owned(), text.to_owned())]);
    Lifecycle::from_annotations(&annotations, None, &Policy::default())
        .err()
        .map(|error| error.to_string())
}

/// A lifecycle that is valid, in JSON.
fn valid() -> impl Strategy<Value = Value> {
    let handler = prop_oneof![
        proptest::collection::vec("[^\0]{1,9}", 1..4)
            .prop_map(|command| json!({"exec": {"command": command}})),
        (1u16.., "/[a-z?=]{0,9}")
            .prop_map(|(port, path)| json!({"httpGet": {"port": port, "path": path}})),
        (1u16..).prop_map(|port| json!({"tcpSocket": {"port": port}})),
        (0..=i32::MAX).prop_map(|seconds| json!({"sleep": {"seconds": seconds}})),
    ];
    let hook = (handler, proptest::option::of(1..=i32::MAX)).prop_map(|(mut hook, timeout)| {
        hook["timeoutSeconds"] = json!(timeout);
        hook
    });
    let hook = || proptest::option::of(hook.clone());
    (hook(), hook(), proptest::option::of(0..=i32::MAX)).prop_map(|(post_start, pre_stop, grace)| {
        json!({"postStart": post_start, "preStop": pre_stop, "terminationGracePeriodSeconds": grace})
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gives_a_lifecycle_or_one_short_line(text in ".{0,200}") {
        if let Some(message) = message(&text) {
            prop_assert!(message.len() < 400 && !message.contains(char::is_control), "{}", message);
        }
    }

    #[test]
    fn any_json_gives_a_lifecycle_or_one_short_line(value in value()) {
        if let Some(message) = message(&value.to_string()) {
            prop_assert!(message.len() < 400 && !message.contains(char::is_control), "{}", message);
        }
    }

    #[test]
    fn a_value_and_its_text_are_judged_alike(value in value()) {
        let text = Lifecycle::from_json(&value.to_string(), &Ports::Unknown);
        prop_assert_eq!(Lifecycle::from_value(&value, &Ports::Unknown), text);
    }

    #[test]
    fn every_field_of_a_valid_lifecycle_arrives(value in valid()) {
        let lifecycle = Lifecycle::from_value(&value, &Ports::Unknown).unwrap();
        for (field, hook) in [("postStart", lifecycle.post_start), ("preStop", lifecycle.pre_stop)] {
            let given = &value[field];
            prop_assert_eq!(given.is_null(), hook.is_none());
            let Some(hook) = hook else { continue };
            prop_assert!(given.get(hook.handler.kind().name()).is_some());
            prop_assert!(hook.handler.describe().len() < 400);
            prop_assert_eq!(given["timeoutSeconds"].as_u64(), hook.timeout.map(|timeout| timeout.as_secs()));
        }
        let grace = lifecycle.termination_grace_period.map(|grace| grace.as_secs());
        prop_assert_eq!(value["terminationGracePeriodSeconds"].as_u64(), grace);
    }

    /// One unknown or repeated field anywhere spoils the whole.
    #[test]
    fn no_field_is_ignored(value in valid(), twice in any::<bool>()) {
        let text = value.to_string();
        let objects: Vec<usize> = text.match_indices('{').map(|(at, _)| at + 1).collect();
        for at in objects {
            // A command may hold a brace: inside of a string nothing is spoilt.
            if text[..at].replace("\\\\", "").replace("\\\"", "").matches('"').count() % 2 == 1 {
                continue;
            }
            let end = text[at..].find(':').map(|end| at + end);
            let extra = match end {
                Some(end) if twice && text[at..].starts_with('"') => format!("{}:null,", &text[at..end]),
                _ if text[at..].starts_with('}') => "\"x\":null".to_owned(),
                _ => "\"x\":null,".to_owned(),
            };
            let spoilt = format!("{}{extra}{}", &text[..at], &text[at..]);
            let error = Lifecycle::from_json(&spoilt, &Ports::Unknown).unwrap_err();
            prop_assert!(error.reason.ends_with(" field"), "{} {}", spoilt, error);
        }
    }
}
