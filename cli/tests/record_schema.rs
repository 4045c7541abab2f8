//! `docs/podhook.schema.json` says of `podhook.json` what the shim writes, all of it and nothing else.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use jsonschema::Validator;
use podhook_hooks::lifecycle::{HandlerKind, Pod};
use podhook_hooks::record::{
    Action, HeaderName, HookRecord, HookResult, Record, TerminationRecord,
};
use podhook_hooks::sequence::{HookKind, Phase};
use podhook_hooks::signal;
use serde_json::{Value, json};

/// The published schema.
fn schema() -> Value {
    serde_json::from_str(include_str!("../../docs/podhook.schema.json")).expect("JSON")
}

/// The schema with no room for fields that it does not name.
fn strict() -> Validator {
    fn close(schema: &mut Value) {
        if let Some(object) = schema.as_object_mut() {
            if object.contains_key("properties") {
                object.insert("additionalProperties".to_owned(), false.into());
            }
            object.values_mut().for_each(close);
        }
    }
    let mut schema = schema();
    close(&mut schema);
    validator(&schema)
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(schema)
        .expect("a schema")
}

fn check(record: &Record) -> Value {
    let json = serde_json::to_value(record).expect("JSON");
    let errors: Vec<_> = strict()
        .iter_errors(&json)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?} in {json:#}");
    json
}

/// An action with every field of its kind.
fn request() -> Action {
    Action::HttpGet {
        path: "/drain".to_owned(),
        port: 8080,
        host: Some("::1".to_owned()),
        scheme: "HTTPS".to_owned(),
        http_headers: vec![HeaderName {
            name: "X-Reason".to_owned(),
        }],
    }
}

/// A record with every field of the model. A field that the model gains must be added here, and the
/// schema must know it.
fn full() -> Record {
    let time = |seconds| (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into();
    let hook = HookRecord {
        hook: HookKind::PostStart.into(),
        handler: HandlerKind::HttpGet.into(),
        action: Some(request()),
        result: Some(HookResult::Failed.into()),
        started_at: Some(time(1_700_000_000)),
        finished_at: Some(time(1_700_000_001)),
        duration_ms: Some(1000.25),
        exit_code: Some(3),
        signal: Some("SIGKILL".to_owned()),
        http_status: Some(503),
        message: Some("exited with status 3".to_owned()),
        cpu_user_usec: Some(800),
        cpu_system_usec: Some(300),
        memory_peak_bytes: Some(1_310_720),
        output: Some("one\ntwo \u{fffd}\n".to_owned()),
    };
    let termination = TerminationRecord {
        requested_at: Some(time(1_700_000_002)),
        signal: Some("SIGRTMIN+3".to_owned()),
        grace_period_seconds: Some(30),
        signalled_at: Some(time(1_700_000_003)),
        killed_at: Some(time(1_700_000_004)),
        exited_at: Some(time(1_700_000_005)),
        exit_status: Some(137),
    };
    let pod = Pod {
        namespace: Some("shop".to_owned()),
        name: Some("web-0".to_owned()),
        uid: Some("u".to_owned()),
        container: Some("nginx".to_owned()),
    };
    Record {
        version: 1,
        id: "c1".to_owned(),
        namespace: "k8s.io".to_owned(),
        pod: Some(pod),
        phase: Phase::Stopped.into(),
        hooks: vec![hook],
        termination: Some(termination),
    }
}

/// The properties of a part of the schema.
fn named(schema: &Value, part: &str) -> BTreeSet<String> {
    let properties = schema.pointer(part).and_then(Value::as_object);
    properties.expect(part).keys().cloned().collect()
}

fn fields(value: &Value) -> BTreeSet<String> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect()
}

#[test]
fn the_schema_is_one() {
    jsonschema::meta::validate(&schema()).expect("draft 2020-12");
}

#[test]
fn every_field_of_the_model_is_in_the_schema_and_the_other_way_round() {
    let (json, schema) = (check(&full()), schema());
    for (part, value) in [
        ("/properties", &json),
        ("/$defs/pod/properties", &json["pod"]),
        ("/$defs/hook/properties", &json["hooks"][0]),
        ("/$defs/termination/properties", &json["termination"]),
    ] {
        assert_eq!(named(&schema, part), fields(value), "{part}");
    }
}

#[test]
fn every_action_is_in_the_schema_and_the_other_way_round() {
    let host = Some("db".to_owned());
    let actions = [
        Action::Exec {
            command: vec!["sh".to_owned()],
        },
        request(),
        Action::TcpSocket { host, port: 5432 },
        Action::Sleep { seconds: 0 },
    ];
    let schema = schema();
    let mut kinds = BTreeSet::new();
    for action in actions {
        // Another one in the model is another one here.
        match action {
            Action::Exec { .. } | Action::HttpGet { .. } => {}
            Action::TcpSocket { .. } | Action::Sleep { .. } => {}
            Action::Unknown(_) => unreachable!("nothing writes it"),
        }
        let mut record = full();
        record.hooks[0].action = Some(action);
        let json = check(&record);
        for (kind, value) in json["hooks"][0]["action"].as_object().expect("an object") {
            let part = format!("/$defs/action/properties/{kind}/properties");
            assert_eq!(named(&schema, &part), fields(value), "{kind}");
            kinds.insert(kind.clone());
        }
    }
    assert_eq!(named(&schema, "/$defs/action/properties"), kinds);
}

#[test]
fn every_phase_result_hook_and_handler_is_in_the_schema() {
    for phase in Phase::ALL {
        let phase = (*phase).into();
        check(&Record { phase, ..full() });
    }
    for result in HookResult::ALL {
        for handler in HandlerKind::ALL {
            let mut hook = HookRecord::new(HookKind::PreStop, *handler);
            hook.result = Some((*result).into());
            let hooks = vec![HookRecord::new(HookKind::PostStart, *handler), hook];
            check(&Record { hooks, ..full() });
        }
    }
}

#[test]
fn a_new_container_has_little_to_tell() {
    check(&Record::new("c1", "default", None));
    let exited = TerminationRecord {
        exited_at: Some(SystemTime::now().into()),
        exit_status: Some(0),
        ..TerminationRecord::default()
    };
    let mut record = Record::new("c1", "default", None);
    record.termination = Some(exited);
    check(&record);
}

#[test]
fn every_signal_has_a_name_that_the_schema_takes() {
    for number in 1..=64 {
        let mut record = full();
        record.hooks[0].signal = Some(signal::name(number));
        check(&record);
    }
}

#[test]
fn what_is_no_record_is_refused() {
    let good = serde_json::to_value(full()).expect("JSON");
    let published = validator(&schema());
    assert!(published.is_valid(&good));
    let mut later = good.clone();
    later["hooks"][0]["retries"] = json!(1);
    assert!(published.is_valid(&later), "fields may be added");
    assert!(!strict().is_valid(&later), "but not without the schema");
    for (pointer, value) in [
        ("/version", json!(2)),
        ("/phase", json!("Paused")),
        ("/hooks/0/hook", json!("preStart")),
        ("/hooks/0/result", json!("succeeded")),
        ("/hooks/0/exitCode", json!("3")),
        ("/hooks/0/startedAt", json!("2026-11-24 10:00:00")),
        ("/hooks/0/startedAt", json!("2026-13-24T10:00:00.000000Z")),
        ("/hooks/0/signal", json!("TERM")),
        ("/termination/gracePeriodSeconds", json!(-1)),
        ("/hooks", json!({})),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect(pointer) = value.clone();
        assert!(!published.is_valid(&bad), "{pointer} = {value}");
    }
    for field in ["version", "id", "namespace", "phase", "hooks"] {
        let mut bad = good.clone();
        bad.as_object_mut().expect("an object").remove(field);
        assert!(!published.is_valid(&bad), "without {field}");
    }
}
