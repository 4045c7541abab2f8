//! runc's calls on its notes, and with processes that stand for its init.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use podhook_hooks::linux::process::state;
use serde_json::{Value, json};

use super::state::State;
use crate::runtime::direct::Unfit;
use crate::runtime::direct::elf::tests::elf;
use crate::runtime::direct::tests::Created;

/// `state.json` of a created container, of real runs.
const STATES: [(&str, &str); 4] = [
    ("1.1", include_str!("states/runc-1.1.json")),
    ("1.3", include_str!("states/runc-1.3.json")),
    ("1.4", include_str!("states/runc-1.4.json")),
    ("1.5", include_str!("states/runc-1.5.json")),
];

/// Changes a copy of the state of one version.
fn changed(text: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut state = serde_json::from_str(text).unwrap();
    change(&mut state);
    state
}

fn read(state: &Value) -> Result<State, Unfit> {
    State::parse(&serde_json::to_vec(state).unwrap(), "c1")
}

#[test]
fn the_states_of_all_tested_versions_are_understood() {
    for (version, text) in STATES {
        let state = read(&changed(text, |_| {})).unwrap();
        assert_eq!(state.to_do_at_end(), None, "{version}");
        assert!(!state.init.is_alive(), "it was another boot's");
        assert!(!state.is_paused().unwrap());
    }
}

#[test]
fn what_is_not_understood_is_left_to_the_program() {
    type Change = fn(&mut Value);
    let changes: &[(Change, &str)] = &[
        (|s| s["id"] = json!("c2"), "another container's"),
        (|s| s["extra"] = json!({}), "unknown field `extra`"),
        (|s| s["config"]["extra"] = json!(1), "unknown field `extra`"),
        (
            |s| drop(s.as_object_mut().unwrap().remove("cgroup_paths")),
            "missing field",
        ),
        (
            |s| drop(s["config"].as_object_mut().unwrap().remove("namespaces")),
            "missing field",
        ),
        (|s| s["cgroup_paths"] = Value::Null, "invalid type"),
        (
            |s| s["cgroup_paths"] = json!({}),
            "not where they are looked for",
        ),
        (
            |s| s["cgroup_paths"]["pids"] = json!("/sys/fs/cgroup/pids"),
            "not where",
        ),
        (
            |s| s["cgroup_paths"]["pids"] = json!("/mnt/pids/ns/c1"),
            "not where",
        ),
        (|s| s["rootless"] = json!(true), "without root"),
        (
            |s| s["config"]["rootless_euid"] = json!(true),
            "without root",
        ),
        (
            |s| s["config"]["cgroups"]["Rootless"] = json!(true),
            "without root",
        ),
    ];
    for (version, text) in STATES {
        for (change, why) in changes {
            let found = read(&changed(text, change)).unwrap_err().to_string();
            assert!(found.contains(why), "{version}: {found}");
        }
        let cut = State::parse(&text.as_bytes()[..text.len() / 2], "c1");
        assert!(cut.is_err(), "{version}");
    }
}

#[test]
fn what_runc_does_besides_at_the_end_is_left_to_it() {
    type Change = fn(&mut Value);
    let changes: &[(Change, Option<&str>)] = &[
        (
            |s| s["intel_rdt_path"] = json!("/sys/fs/resctrl/c1"),
            Some("RDT"),
        ),
        (
            |s| s["intel_rdt_mon_path"] = json!("/sys/fs/resctrl/c1"),
            Some("RDT"),
        ),
        (|s| s["config"]["intel_rdt"] = json!({}), Some("RDT")),
        (
            |s| s["config"]["cgroups"]["Systemd"] = json!(true),
            Some("systemd's"),
        ),
        (
            |s| s["config"]["Hooks"] = json!({"poststop": [{"path": "/x"}]}),
            Some("poststop"),
        ),
        (
            |s| s["config"]["Hooks"] = json!({"poststart": [{"path": "/x"}], "poststop": []}),
            None,
        ),
        (|s| s["config"]["Hooks"] = Value::Null, None),
        (
            |s| s["config"]["namespaces"][0]["path"] = json!("/proc/1/ns/pid"),
            Some("pid namespace"),
        ),
        (
            |s| s["config"]["namespaces"] = json!([]),
            Some("pid namespace"),
        ),
    ];
    for (version, text) in STATES {
        for (change, why) in changes {
            let found = read(&changed(text, change)).unwrap().to_do_at_end();
            let is_it = match (found, why) {
                (Some(found), Some(why)) => found.contains(why),
                (found, why) => found.is_none() && why.is_none(),
            };
            assert!(is_it, "{version}: {found:?}, not {why:?}");
        }
    }
}

/// A container of runc's.
fn created_by_runc(init: &str) -> Created {
    let program = elf(".go.buildinfo", b"path\tgithub.com/opencontainers/runc\n");
    let created = Created::new("runc", &program, init);
    note(&created, |_| {});
    created
}

fn note(created: &Created, change: impl FnOnce(&mut Value)) {
    let state = changed(STATES[3].1, |state| {
        state["init_process_pid"] = json!(created.pid());
        state["init_process_start"] = json!(created.start_time());
        // One that is not there.
        let gone = format!("/sys/fs/cgroup/none/{}", created.pid());
        state["cgroup_paths"] = json!({"": gone});
        change(state);
    });
    fs::write(created.path("state.json"), state.to_string()).unwrap();
}

const WRITES: &str = "printf 0 > $1; exec sleep 600";

#[tokio::test(flavor = "current_thread")]
async fn init_goes_on_when_its_fifo_is_read() {
    let created = created_by_runc(WRITES);
    assert!(created.direct.start().await.is_ok());
    assert!(!created.path("exec.fifo").exists());
    assert!(created.path("state.json").exists());
    assert!(matches!(state(created.pid()), Some('R' | 'S' | 'D')));
    assert!(created.unstarted().await.contains("exec.fifo"), "once");
}

#[tokio::test(flavor = "current_thread")]
async fn start_waits_for_the_end_of_what_is_written() {
    // As with hooks of the kind startContainer, and up to its execve.
    let script = "exec 3> $1; printf 0 >&3; sleep 0.3; : > $1.done; exec 3>&-; exec sleep 600";
    let created = created_by_runc(script);
    assert!(created.direct.start().await.is_ok());
    assert!(created.path("exec.fifo.done").exists());
}

#[tokio::test(flavor = "current_thread")]
async fn an_init_that_has_ended_is_not_started() {
    let mut created = created_by_runc("exec sleep 600");
    created.end();
    assert!(!created.unstarted().await.is_empty());
    assert!(created.path("exec.fifo").exists());
    // One that nobody has reaped, and one with the number of another process.
    let ended = created_by_runc("exit 0");
    while state(ended.pid()) != Some('Z') {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(ended.unstarted().await, "its init has ended");
    let other = created_by_runc(WRITES);
    note(&other, |state| state["init_process_start"] = json!(1));
    assert_eq!(other.unstarted().await, "its init has ended");
}

#[tokio::test(flavor = "current_thread")]
async fn an_init_that_dies_before_it_has_written_is_not_waited_for() {
    let created = created_by_runc("sleep 0.2; kill -9 $$");
    assert_eq!(created.unstarted().await, "its init has ended");
    let short = created_by_runc("printf 0 > $1");
    assert!(
        short.direct.start().await.is_ok(),
        "it has written, and ended"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_fifo_that_somebody_else_has_read_starts_nothing() {
    let created = created_by_runc("exec 3> $1; exec 3>&-; exec sleep 600");
    assert_eq!(created.unstarted().await, "somebody else starts it");
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_no_fifo_of_runcs_is_not_read() {
    let created = created_by_runc("exec sleep 600");
    let (fifo, other) = (created.path("exec.fifo"), created.path("other"));
    fs::rename(&fifo, &other).unwrap();
    assert!(created.unstarted().await.contains("No such file"));
    symlink(&other, &fifo).unwrap();
    let link = std::io::Error::from_raw_os_error(libc::ELOOP).to_string();
    assert!(created.unstarted().await.contains(&link));
    fs::remove_file(&fifo).unwrap();
    fs::write(&fifo, "0").unwrap();
    assert_eq!(created.unstarted().await, "exec.fifo is no fifo");
    fs::rename(created.path(""), created.root.path().join("moved")).unwrap();
    symlink("moved", created.root.path().join("c1")).unwrap();
    assert!(created.unstarted().await.contains("Not a directory"));
}

#[tokio::test(flavor = "current_thread")]
async fn what_init_has_written_stays_for_the_program() {
    let created = created_by_runc("exec 3> $1; rm $1; printf 0 >&3; : > $1.done; exec sleep 600");
    let left = created.direct.start().await.expect_err("nothing to remove");
    assert!(
        left.why.to_string().starts_with("remove exec.fifo"),
        "{}",
        left.why
    );
    while !created.path("exec.fifo.done").exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut found = [0; 2];
    let read = left.fifo.as_deref().unwrap().read(&mut found);
    assert_eq!((read.unwrap(), found[0]), (1, b'0'));
}

#[tokio::test(flavor = "current_thread")]
async fn nothing_begins_while_delete_looks_for_what_is_left() {
    let mut created = created_by_runc(WRITES);
    drop(crate::runtime::mark(created.root.path()).unwrap());
    let presence = crate::runtime::Presence::of(created.root.path()).unwrap();
    assert!(presence.is_over());
    assert!(created.unstarted().await.contains("lock"));
    created.end();
    assert!(created.undeleted().await.contains("lock"));
    assert!(created.path("exec.fifo").exists());
    drop(presence);
    created.direct.delete().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn all_of_a_container_that_has_ended_is_removed() {
    let mut created = created_by_runc("exec sleep 600");
    assert_eq!(created.undeleted().await, "its init is alive");
    assert!(created.path("exec.fifo").exists());
    created.end();
    let victim = created.root.path().join("victim");
    fs::write(&victim, "kept").unwrap();
    symlink(&victim, created.path("link")).unwrap();
    created.direct.delete().await.unwrap();
    assert!(!created.path("").exists());
    assert_eq!(fs::read(victim).unwrap(), b"kept");
    assert!(created.undeleted().await.contains("No such file"));
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_the_programs_to_delete_is_not_touched() {
    let mut created = created_by_runc("exec sleep 600");
    note(&created, |state| {
        state["config"]["Hooks"] = json!({"poststop": [{"path": "/x"}]})
    });
    created.end();
    assert_eq!(created.undeleted().await, "it has a poststop hook");
    created.direct.has_scope = true;
    assert_eq!(created.undeleted().await, "its cgroups are systemd's");
    assert!(created.path("state.json").exists());
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_no_runc_is_called() {
    let created = created_by_runc(WRITES);
    let runc = Path::new(&created.direct.binary);
    let mut file = fs::File::create(runc).unwrap();
    file.write_all(b"#!/bin/sh\nexec runc \"$@\"\n").unwrap();
    assert!(
        created
            .unstarted()
            .await
            .contains("no runc and no crun of a tested version")
    );
    fs::rename(runc, runc.with_file_name("youki")).unwrap();
    assert_eq!(created.unstarted().await, "there is no such OCI runtime");
    let mut other = created.direct.clone();
    other.binary = runc.with_file_name("youki").display().to_string();
    let why = other.start().await.err().unwrap().why.to_string();
    assert_eq!(why, "the OCI runtime is not called runc or crun");
}
