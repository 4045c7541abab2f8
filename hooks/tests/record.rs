//! `podhook.json`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use podhook_hooks::lifecycle::{Handler, HandlerKind, Pod};
use podhook_hooks::record::{HookRecord, HookResult, Record, TerminationRecord, Timestamp};
use podhook_hooks::sequence::{HookKind, Phase};
use serde_json::json;

fn at(millis: u64) -> Option<Timestamp> {
    Some(
        (SystemTime::UNIX_EPOCH
            + Duration::from_secs(1_700_000_000)
            + Duration::from_millis(millis))
        .into(),
    )
}

fn read(path: &Path) -> Record {
    let json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    Record::from_json(&json).unwrap()
}

fn full() -> Record {
    let text = |text: &str| Some(text.to_owned());
    let pod = Pod {
        namespace: text("shop"),
        name: text("web-0"),
        uid: text("u-1"),
        container: text("nginx"),
    };
    let hook = HookRecord {
        result: Some(HookResult::TimedOut.into()),
        started_at: at(0),
        finished_at: at(12),
        duration_ms: Some(12.4),
        exit_code: Some(3),
        signal: text("SIGKILL"),
        http_status: Some(200),
        message: text("exited with status 3"),
        cpu_user_usec: Some(800),
        cpu_system_usec: Some(300),
        memory_peak_bytes: Some(1_310_720),
        output: text("last\n"),
        ..HookRecord::of(
            HookKind::PostStart,
            &Handler::Exec {
                command: vec!["sh".to_owned(), "-c".to_owned()],
            },
        )
    };
    let termination = TerminationRecord {
        requested_at: at(1000),
        signal: text("SIGTERM"),
        grace_period_seconds: Some(30),
        signalled_at: at(2000),
        killed_at: at(3000),
        exited_at: at(3001),
        exit_status: Some(0),
    };
    let mut record = Record::new("c1", "k8s.io", Some(pod));
    record.phase = Phase::Stopped.into();
    record.hooks = vec![hook, HookRecord::new(HookKind::PreStop, HandlerKind::Sleep)];
    record.termination = Some(termination);
    record
}

#[test]
fn the_fields_are_those_of_the_contract() {
    let expected = json!({
        "version": 1, "id": "c1", "namespace": "k8s.io",
        "pod": {"namespace": "shop", "name": "web-0", "uid": "u-1", "container": "nginx"},
        "phase": "Stopped",
        "hooks": [
            {"hook": "postStart", "handler": "exec", "action": {"exec": {"command": ["sh", "-c"]}},
             "result": "TimedOut",
             "startedAt": "2023-11-14T22:13:20.000000Z", "finishedAt": "2023-11-14T22:13:20.012000Z",
             "durationMs": 12.4, "exitCode": 3, "signal": "SIGKILL", "httpStatus": 200,
             "message": "exited with status 3", "cpuUserUsec": 800, "cpuSystemUsec": 300,
             "memoryPeakBytes": 1310720, "output": "last\n"},
            {"hook": "preStop", "handler": "sleep"},
        ],
        "termination": {
            "requestedAt": "2023-11-14T22:13:21.000000Z", "signal": "SIGTERM", "gracePeriodSeconds": 30,
            "signalledAt": "2023-11-14T22:13:22.000000Z", "killedAt": "2023-11-14T22:13:23.000000Z",
            "exitedAt": "2023-11-14T22:13:23.001000Z", "exitStatus": 0},
    });
    assert_eq!(serde_json::to_value(full()).unwrap(), expected);
}

#[test]
fn what_is_not_yet_so_is_absent() {
    let record = serde_json::to_value(Record::new("c1", "default", None)).unwrap();
    let expected =
        json!({"version": 1, "id": "c1", "namespace": "default", "phase": "Created", "hooks": []});
    assert_eq!(record, expected);
}

#[test]
fn it_is_read_as_it_was_written_and_only_root_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("podhook.json");
    full().write(&path).unwrap();
    assert_eq!(read(&path), full());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["podhook.json"], "nothing else is left");
}

#[test]
fn a_container_cannot_write_to_the_terminal_of_who_prints_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("podhook.json");
    let mut record = full();
    let evil = "\x1b]0;owned\x07\x1b[2J\u{9b}1m\r\u{202e}txt\x7f\0";
    record.hooks[0].output = Some(evil.to_owned());
    record.pod.as_mut().unwrap().name = Some(evil.to_owned());
    record.write(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let hidden = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(hidden), "{text:?}");
    assert_eq!(read(&path), record, "escaped, not lost");
}

#[test]
fn it_is_replaced_and_never_changed_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("podhook.json");
    full().write(&path).unwrap();
    let open = fs::File::open(&path).unwrap();
    Record::new("c2", "default", None).write(&path).unwrap();
    assert_ne!(
        open.metadata().unwrap().ino(),
        fs::metadata(&path).unwrap().ino()
    );
    let old: Record = serde_json::from_reader(open).unwrap();
    assert_eq!((old.id.as_str(), read(&path).id.as_str()), ("c1", "c2"));
}

#[test]
fn the_rest_of_a_dead_writer_is_replaced_and_no_link_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("podhook.json");
    let victim = folder.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    symlink(&victim, folder.path().join(".podhook.json.new")).unwrap();
    symlink(&victim, &path).unwrap();
    full().write(&path).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(read(&path), full());
}

#[test]
fn failures_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gone").join("podhook.json");
    let error = full().write(&path).unwrap_err().to_string();
    assert!(
        error.starts_with("create ") && error.contains("/gone/"),
        "{error}"
    );
}

#[test]
fn a_newer_writers_fields_are_passed_over() {
    let text = r#"{"version":1,"id":"a","namespace":"b","phase":"Running","new":1,"termination":{"new":2}}"#;
    let record: Record = serde_json::from_str(text).unwrap();
    assert_eq!(record.phase.known(), Some(Phase::Running));
    assert_eq!(record.termination, Some(TerminationRecord::default()));
}

#[test]
fn what_another_version_names_otherwise_or_leaves_out_is_read_all_the_same() {
    let json = json!({"id": "a", "phase": "Frozen", "hooks": [
        {"hook": "preFreeze", "handler": "grpc", "action": {"grpc": {"port": 1}}, "result": "Postponed"}, {}]});
    let record = Record::from_json(&json).unwrap();
    assert_eq!(
        (record.phase.as_str(), record.phase.known()),
        ("Frozen", None)
    );
    let hook = &record.hooks[0];
    assert_eq!(
        (hook.hook.as_str(), hook.handler.as_str()),
        ("preFreeze", "grpc")
    );
    assert_eq!(
        (hook.result(), hook.what().as_str()),
        (Some("Postponed"), "grpc")
    );
    assert_eq!(serde_json::to_value(hook).unwrap(), json["hooks"][0]);
    assert_eq!(record.hooks[1], HookRecord::default());
    assert_eq!(Record::from_json(&json!({})).unwrap(), Record::default());
}

#[test]
fn what_has_another_type_is_no_record() {
    for json in [
        json!([]),
        json!({"phase": 1}),
        json!({"hooks": {}}),
        json!({"hooks": [{"exitCode": "3"}]}),
        json!({"termination": {"requestedAt": "yesterday"}}),
    ] {
        assert!(Record::from_json(&json).is_err(), "{json}");
    }
}
