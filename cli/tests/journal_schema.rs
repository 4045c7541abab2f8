//! `docs/journal.schema.json` says of a line of the journal what the shim writes, all of it and nothing else. What a line shares
//! with a record is in `docs/podhook.schema.json`, which has a test of its own.

use std::collections::BTreeSet;

use jsonschema::{Registry, Validator};
use podhook_hooks::journal::{Entry, Event, VERSION};
use podhook_hooks::lifecycle::{HandlerKind, Pod};
use podhook_hooks::record::{HookRecord, HookResult, Record, TerminationRecord};
use podhook_hooks::sequence::HookKind;
use serde_json::{Value, json};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../docs/journal.schema.json")).expect("JSON")
}

/// The published schema, with that of the record beside it.
fn validator() -> Validator {
    let record: Value =
        serde_json::from_str(include_str!("../../docs/podhook.schema.json")).expect("JSON");
    let uri = record["$id"].as_str().expect("a URI").to_owned();
    let registry = Registry::new().add(&uri, record).expect("a resource");
    let registry = registry.prepare().expect("a registry");
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .with_registry(&registry)
        .build(&schema())
        .expect("a schema")
}

/// A line with every field of the model. A field that the model gains must be added here, and the schema must know it.
fn full(event: Event) -> Value {
    let pod = Pod {
        namespace: Some("shop".to_owned()),
        name: Some("web-0".to_owned()),
        uid: Some("u".to_owned()),
        container: Some("nginx".to_owned()),
    };
    let record = Record::new("c1", "k8s.io", Some(pod));
    let mut hook = HookRecord::new(HookKind::PreStop, HandlerKind::Exec);
    hook.result = Some(HookResult::Failed.into());
    let entry = Entry {
        hook: Some(hook),
        termination: Some(TerminationRecord::default()),
        message: Some("FailedPostStartHook: …".to_owned()),
        ..Entry::now(event, &record)
    };
    assert_eq!(entry.version, VERSION);
    serde_json::from_str(&entry.line().expect("a line")).expect("JSON")
}

#[test]
fn every_field_and_event_of_the_model_is_in_the_schema_and_the_other_way_round() {
    jsonschema::meta::validate(&schema()).expect("draft 2020-12");
    let validator = validator();
    for event in Event::ALL {
        let line = full(*event);
        let errors: Vec<_> = validator
            .iter_errors(&line)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?} in {line:#}");
    }
    let keys = |value: &Value| -> BTreeSet<String> {
        let object = value.as_object().expect("an object");
        object.keys().cloned().collect()
    };
    let schema = schema();
    assert_eq!(keys(&full(Event::HookEnded)), keys(&schema["properties"]));
    let names: Vec<&str> = Event::ALL.iter().map(|event| event.name()).collect();
    assert_eq!(schema["properties"]["event"]["enum"], json!(names));
}

#[test]
fn what_is_no_line_is_refused() {
    let good = full(Event::HookEnded);
    let validator = validator();
    for (field, value) in [
        ("version", json!(2)),
        ("event", json!("hookEnded")),
        ("time", json!("yesterday")),
        ("phase", json!("Gone")),
        ("hook", json!({"hook": "preStart", "handler": "exec"})),
        ("termination", json!({"exitStatus": "0"})),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(!validator.is_valid(&bad), "{bad}");
    }
    for field in ["version", "time", "event", "id", "namespace", "phase"] {
        let mut bad = good.clone();
        bad.as_object_mut().expect("an object").remove(field);
        assert!(!validator.is_valid(&bad), "without {field}");
    }
}
