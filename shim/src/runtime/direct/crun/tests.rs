//! crun's calls on its notes, and with processes that stand for its init.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use podhook_hooks::linux::process::state;
use serde_json::{Value, json};

use super::status::Status;
use crate::runtime::direct::Unfit;
use crate::runtime::direct::elf::tests::elf;
use crate::runtime::direct::folder::FIFO;
use crate::runtime::direct::tests::Created;

/// `status` of a created container, of real runs.
const STATES: [(&str, &str); 3] = [
    ("1.8", include_str!("states/crun-1.8.json")),
    ("1.21", include_str!("states/crun-1.21.json")),
    ("1.28", include_str!("states/crun-1.28.json")),
];

/// What the program of 1.28 has among its constants.
const CONSTANTS: &[u8] =
    b"fied\0\x0054f16ffbefcd022bf032af768b5c5ce075c18bfc\0\0write to exec.fifo\0";

const PAUSE: Duration = Duration::from_millis(1);

type Change = fn(&mut Value);

fn read(text: &str, change: impl FnOnce(&mut Value)) -> Result<Status, Unfit> {
    let mut status = serde_json::from_str(text).unwrap();
    change(&mut status);
    Status::parse(&serde_json::to_vec(&status).unwrap())
}

#[test]
fn the_notes_of_all_tested_versions_are_understood() {
    for (version, text) in STATES {
        let status = Status::parse(text.as_bytes()).unwrap();
        assert!(status.own_cgroups().is_ok(), "{version}");
        assert!(!status.init.is_alive(), "it was another boot's");
    }
}

#[test]
fn what_is_not_understood_is_left_to_the_program() {
    let changes: &[(Change, &str)] = &[
        (|s| s["extra"] = json!({}), "unknown field `extra`"),
        (|s| s["pid"] = json!("1"), "invalid type"),
        (|s| s["pid"] = json!(0), "its init is not known"),
        (|s| s["pid"] = json!(-1), "its init is not known"),
        (
            |s| s["process-start-time"] = json!(0),
            "its init is not known",
        ),
        (
            |s| drop(s.as_object_mut().unwrap().remove("process-start-time")),
            "missing field",
        ),
        (
            |s| drop(s.as_object_mut().unwrap().remove("scope")),
            "missing field",
        ),
    ];
    for (version, text) in STATES {
        for (change, why) in changes {
            let found = read(text, change).unwrap_err().to_string();
            assert!(found.contains(why), "{version}: {found}");
        }
        let cut = Status::parse(&text.as_bytes()[..text.len() / 2]);
        assert!(cut.is_err(), "{version}");
    }
}

#[test]
fn cgroups_that_are_not_the_containers_own_are_left_to_the_program() {
    let changes: &[(Change, &str)] = &[
        (|s| s["systemd-cgroup"] = json!(true), "systemd's"),
        (|s| s["scope"] = json!("x-c1.scope"), "systemd's"),
        (|s| s["intelrdt"] = json!("c1"), "RDT"),
        (|s| s["cgroup-path"] = json!(""), "not where"),
        (|s| s["cgroup-path"] = json!("/"), "not where"),
        (|s| s["cgroup-path"] = json!("/../../etc"), "not where"),
    ];
    for (version, text) in STATES {
        for (change, why) in changes {
            let found = read(text, change).unwrap().own_cgroups();
            let found = found.unwrap_err().to_string();
            assert!(found.contains(why), "{version}: {found}");
        }
    }
}

/// A container of crun's, without hooks, whose cgroup is not there.
fn created_by_crun(init: &str) -> Created {
    let created = Created::new("crun", &elf(".rodata", CONSTANTS), init);
    note(&created, |_| {});
    configure(&created, |_| {});
    created
}

fn note(created: &Created, change: impl FnOnce(&mut Value)) {
    let mut status: Value = serde_json::from_str(STATES[2].1).unwrap();
    status["pid"] = json!(created.pid());
    status["process-start-time"] = json!(created.start_time());
    status["cgroup-path"] = json!(format!("/none/{}", created.pid()));
    change(&mut status);
    fs::write(created.path("status"), status.to_string()).unwrap();
}

fn configure(created: &Created, change: impl FnOnce(&mut Value)) {
    let mut config = json!({"linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]}});
    change(&mut config);
    fs::write(created.path("config.json"), config.to_string()).unwrap();
}

/// As crun's: it holds the fifo open, waits for a byte, and executes the program.
const READS: &str = "exec 3<> $1; : > $1.open; head -c 1 <&3 > $1.read; exec sleep 600";

async fn appears(created: &Created, name: &str) {
    while !created.path(name).exists() {
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn init_goes_on_when_there_is_something_to_read() {
    let created = created_by_crun(READS);
    appears(&created, "exec.fifo.open").await;
    assert!(created.direct.start().await.is_ok());
    assert!(!created.path(FIFO).exists());
    while fs::read(created.path("exec.fifo.read")).ok().as_deref() != Some(&[0]) {
        tokio::time::sleep(PAUSE).await;
    }
    assert!(matches!(state(created.pid()), Some('R' | 'S' | 'D')));
    assert!(created.unstarted().await.contains(FIFO), "once");
}

#[tokio::test(flavor = "current_thread")]
async fn crun_in_runcs_place_is_known() {
    let mut created = created_by_crun(READS);
    appears(&created, "exec.fifo.open").await;
    let runc = created.root.path().join("runc");
    fs::rename(&created.direct.binary, &runc).unwrap();
    created.direct.binary = runc.display().to_string();
    assert!(created.direct.start().await.is_ok());
}

#[tokio::test(flavor = "current_thread")]
async fn what_does_not_wait_is_not_started() {
    let mut created = created_by_crun("exec sleep 600");
    let why = created.unstarted().await;
    assert!(why.contains("No such device"), "nobody reads: {why}");
    configure(&created, |config| {
        config["hooks"] = json!({"poststart": [{"path": "/x"}]});
    });
    assert_eq!(created.unstarted().await, "it has a poststart hook");
    fs::write(created.path("config.json"), "{").unwrap();
    assert!(created.unstarted().await.contains("config.json"));
    note(&created, |status| status["process-start-time"] = json!(1));
    assert_eq!(created.unstarted().await, "its init has ended");
    note(&created, |_| {});
    created.end();
    assert_eq!(created.unstarted().await, "its init has ended");
    assert!(created.path(FIFO).exists());
}

#[tokio::test(flavor = "current_thread")]
async fn all_of_a_container_that_has_ended_is_removed() {
    let mut created = created_by_crun("exec sleep 600");
    fs::write(created.path("seccomp.bpf"), "").unwrap();
    fs::create_dir(created.path("devs")).unwrap();
    assert_eq!(created.undeleted().await, "its init is alive");
    created.end();
    created.direct.delete().await.unwrap();
    assert!(!created.path("").exists());
    assert!(created.undeleted().await.contains("No such file"));
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_the_programs_to_delete_is_not_touched() {
    let mut created = created_by_crun("exec sleep 600");
    created.end();
    let changes: &[(Change, &str)] = &[
        (
            |config| config["hooks"] = json!({"poststop": [{"path": "/x"}]}),
            "it has a poststop hook",
        ),
        (
            |config| config["linux"]["intelRdt"] = json!({"closID": "x"}),
            "it may have an Intel RDT group",
        ),
        (
            |config| config["linux"]["namespaces"] = json!([{"type": "mount"}]),
            "it has no pid namespace of its own",
        ),
        (
            |config| {
                config["linux"]["namespaces"] = json!([{"type": "pid", "path": "/proc/1/ns/pid"}]);
            },
            "it has no pid namespace of its own",
        ),
    ];
    for (change, why) in changes {
        configure(&created, change);
        assert_eq!(created.undeleted().await, *why);
    }
    configure(&created, |_| {});
    fs::create_dir(created.path("notify")).unwrap();
    let why = created.undeleted().await;
    assert_eq!(why, "its state has a file that is not known");
    for name in [FIFO, "status", "config.json"] {
        assert!(created.path(name).exists(), "{name}");
    }
    fs::remove_dir(created.path("notify")).unwrap();
    created.direct.delete().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_no_crun_of_a_tested_version_is_called() {
    let created = created_by_crun("exec sleep 600");
    let other = [CONSTANTS, b"x"].concat();
    let other = String::from_utf8_lossy(&other).replace("54f16f", "54f160");
    let binary = &created.direct.binary;
    fs::write(binary, elf(".rodata", other.as_bytes())).unwrap();
    fs::set_permissions(binary, fs::Permissions::from_mode(0o755)).unwrap();
    let why = created.unstarted().await;
    assert!(why.contains("no crun of a tested version"), "{why}");
}
