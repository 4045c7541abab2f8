//! crun's containers: Start and Delete without its program, and where that is run all the same.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, OciRuntime, Outcome};
use serde_json::json;

use crate::Test;
use crate::client::Client;
use crate::direct::{
    self, created_of, lives_without, options, spoil, starts_in_a_scope, where_systemd_runs,
};
use crate::options::generic;
use crate::podhook_only;
use crate::stage::{Failure, Stage};
use crate::tests;

/// The system's.
const SYSTEMS: Generation = Generation::V1_6;
/// Those that have the other tested versions.
const OTHERS: [Generation; 2] = [Generation::V1_7, Generation::V2];

pub fn tests() -> Vec<Test> {
    let mut all = podhook_only(tests![crun:
        it_starts_and_deletes_without_its_program,
        it_starts_and_deletes_without_a_program_of_any_tested_version,
        in_runcs_place_it_starts_and_deletes_without_its_program,
        what_is_left_is_what_its_program_leaves,
        what_it_knows_of_is_what_there_is,
        it_runs_its_hooks,
        another_version_sees_every_call,
        a_status_that_is_broken_is_read_by_its_program,
        a_container_without_a_pid_namespace_is_deleted_by_its_program,
        what_it_has_started_is_not_started_again,
    ]);
    all.extend(where_systemd_runs(tests![crun:
        with_systemds_cgroups_it_starts_without_its_program,
    ]));
    all
}

/// A copy of the crun of a generation.
fn copy(stage: &Stage, of: Generation) -> Result<PathBuf, Failure> {
    let program = of.oci_runtime(OciRuntime::Crun)?;
    direct::copy(stage, &format!("of-{of}"), &program)
}

fn lives(stage: &Stage, of: Generation) -> Outcome {
    lives_without(stage, &format!("of-{of}"), || copy(stage, of))
}

fn it_starts_and_deletes_without_its_program(stage: &Stage) -> Outcome {
    stage.be_for_crun();
    lives(stage, SYSTEMS)
}

fn it_starts_and_deletes_without_a_program_of_any_tested_version(stage: &Stage) -> Outcome {
    stage.be_for_crun();
    OTHERS.into_iter().try_for_each(|of| lives(stage, of))
}

/// As a node has it that wants crun for all that asks for runc.
fn in_runcs_place_it_starts_and_deletes_without_its_program(stage: &Stage) -> Outcome {
    stage.be_for_crun();
    lives_without(stage, "c1", || {
        let crun = copy(stage, SYSTEMS)?;
        let runc = crun.with_file_name("runc");
        fs::rename(crun, &runc)?;
        Ok(runc)
    })
}

fn with_systemds_cgroups_it_starts_without_its_program(stage: &Stage) -> Outcome {
    stage.be_for_crun();
    starts_in_a_scope(stage, &copy(stage, SYSTEMS)?)
}

/// A container of this crun, in a root of its own, with the node's `runtime_calls`.
fn configured(stage: &Stage, id: &str, crun: &Path, calls: &str) -> Result<Client, Failure> {
    stage.be_for_crun();
    let mut spec = stage.spec(id, &["sleep", "600"]);
    // That crun keeps what it makes of it shows in its root.
    let refused = json!([{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]);
    spec.0["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": refused});
    stage.make_bundle(id, &spec)?;
    let text = format!(
        "runtime = \"{}\"\nroot = \"{}\"\nruntime_calls = \"{calls}\"\n",
        crun.display(),
        stage.dir().join(calls).display()
    );
    let config = stage.dir().join(format!("{calls}.toml"));
    fs::write(&config, text)?;
    created_of(stage, id, &generic(&config.display().to_string(), ""))
}

/// The paths of all that is below a folder.
fn all_below(folder: &Path) -> Result<BTreeSet<String>, Failure> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            found.insert(path.strip_prefix(folder)?.display().to_string());
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

fn what_is_left_is_what_its_program_leaves(stage: &Stage) -> Outcome {
    for of in [SYSTEMS].into_iter().chain(OTHERS) {
        // A machine of cgroup v2 has the system's alone.
        let Ok(crun) = of.oci_runtime(OciRuntime::Crun) else {
            continue;
        };
        let [direct, program] = ["direct", "program"].map(|calls| steps(stage, &crun, calls));
        let (direct, program) = (direct?, program?);
        assert_eq!(direct, program, "{of}");
        assert!(direct[0].iter().any(|path| path.ends_with("/exec.fifo")));
        assert!(direct[1].iter().any(|path| path.ends_with("/status")));
        let is_its = |path: &String| path.split('/').any(|name| name == "c1");
        assert!(!direct[2].iter().any(is_its));
    }
    Ok(())
}

/// What is in crun's root and of the container's cgroups when it was created, was started, was deleted; and when one was
/// deleted that was never started.
fn steps(stage: &Stage, crun: &Path, calls: &str) -> Result<[BTreeSet<String>; 4], Failure> {
    let root = stage.dir().join(calls);
    let _ = fs::remove_dir_all(&root);
    let _ = fs::remove_dir_all(stage.bundle("c1"));
    let state = || -> Result<_, Failure> {
        let mut all = all_below(&root)?;
        all.extend(stage.left_of("c1"));
        all.retain(|path| !path.ends_with("/rootfs"));
        Ok(all)
    };
    let client = configured(stage, "c1", crun, calls)?;
    let created = state()?;
    client.start("c1", "")?;
    let started = state()?;
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    client.delete("c1", "")?;
    let deleted = state()?;
    client.shutdown("c1");
    stage.wait_gone("c1")?;
    fs::remove_dir_all(stage.bundle("c1"))?;
    let client = configured(stage, "c1", crun, calls)?;
    client.delete("c1", "")?;
    let unstarted = state()?;
    client.shutdown("c1");
    stage.wait_gone("c1")?;
    Ok([created, started, deleted, unstarted])
}

fn what_it_knows_of_is_what_there_is(stage: &Stage) -> Outcome {
    let crun = copy(stage, SYSTEMS)?;
    let client = configured(stage, "c1", &crun, "direct")?;
    let root = stage.dir().join("direct").join(stage.namespace());
    let list = || -> Result<String, Failure> {
        let output = Command::new(&crun)
            .arg("--root")
            .arg(&root)
            .arg("list")
            .output()?;
        assert!(output.status.success(), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert!(list()?.contains(" created "));
    client.start("c1", "")?;
    assert!(list()?.contains(" running "));
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    assert!(list()?.contains(" stopped "));
    client.delete("c1", "")?;
    assert!(!list()?.contains("c1"));
    client.shutdown("c1");
    stage.wait_gone("c1")
}

fn created(stage: &Stage, options: &Any) -> Result<Client, Failure> {
    stage.be_for_crun();
    direct::created(stage, "c1", options)
}

/// poststart at the end of its start, poststop in its delete.
fn it_runs_its_hooks(stage: &Stage) -> Outcome {
    stage.be_for_crun();
    let crun = copy(stage, SYSTEMS)?;
    let [started, stopped] = ["started", "stopped"].map(|name| stage.dir().join(name));
    let hook = |told: &Path| {
        let script = format!("cat > {}", told.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
    };
    let mut spec = stage.spec("c1", &["sleep", "600"]);
    spec.0["hooks"] = json!({"poststart": hook(&started), "poststop": hook(&stopped)});
    stage.make_bundle("c1", &spec)?;
    let client = created_of(stage, "c1", &options(&crun))?;
    let whole = spoil(&crun)?;
    assert!(client.start("c1", "").is_err(), "started without crun");
    fs::rename(&whole, &crun)?;
    client.start("c1", "")?;
    assert!(fs::read_to_string(&started)?.contains("\"running\""));
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    let whole = spoil(&crun)?;
    assert!(client.delete("c1", "").is_err(), "deleted without crun");
    assert!(!stopped.exists());
    fs::rename(&whole, &crun)?;
    client.delete("c1", "")?;
    assert!(fs::read_to_string(&stopped)?.contains("\"stopped\""));
    client.shutdown("c1");
    stage.wait_gone("c1")
}

/// One by its commit, which is what crun says of itself.
fn another_version_sees_every_call(stage: &Stage) -> Outcome {
    let crun = copy(stage, SYSTEMS)?;
    let version = Command::new(&crun).arg("--version").output()?.stdout;
    let version = String::from_utf8_lossy(&version).into_owned();
    let commit = version.split("commit: ").nth(1).ok_or("no commit")?;
    let commit = commit.lines().next().unwrap_or_default().as_bytes();
    let mut program = fs::read(&crun)?;
    let at = program.windows(commit.len()).position(|it| it == commit);
    let first = program.get_mut(at.ok_or("the commit is not there")?);
    *first.ok_or("no such byte")? ^= 1;
    let other = crun.with_file_name("other");
    fs::write(&other, program)?;
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755))?;
    fs::rename(&other, &crun)?;
    let client = created(stage, &options(&crun))?;
    let whole = spoil(&crun)?;
    let error = client.start("c1", "").err().ok_or("started without it")?;
    let says = error.message.starts_with("OCI runtime start failed: ");
    assert!(says, "{error}");
    fs::rename(whole, &crun)?;
    client.start("c1", "")?;
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    let whole = spoil(&crun)?;
    assert!(client.delete("c1", "").is_err(), "deleted without it");
    fs::rename(whole, &crun)?;
    client.delete("c1", "")?;
    client.shutdown("c1");
    stage.wait_gone("c1")
}

fn a_status_that_is_broken_is_read_by_its_program(stage: &Stage) -> Outcome {
    let crun = copy(stage, SYSTEMS)?;
    let client = configured(stage, "c1", &crun, "direct")?;
    let folder = stage.dir().join("direct").join(stage.namespace());
    let status = folder.join("c1/status");
    let text = fs::read_to_string(&status)?;
    fs::write(&status, &text[..text.len() / 2])?;
    let error = client.start("c1", "").err().ok_or("it was started")?;
    let says = error.message.starts_with("OCI runtime start failed: ");
    assert!(says && error.message.contains("parse"), "{error}");
    assert!(folder.join("c1/exec.fifo").exists());
    fs::write(&status, text)?;
    client.start("c1", "")?;
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    client.delete("c1", "")?;
    client.shutdown("c1");
    stage.wait_gone("c1")
}

/// crun kills what is left in the container's cgroup then.
fn a_container_without_a_pid_namespace_is_deleted_by_its_program(stage: &Stage) -> Outcome {
    stage.be_for_crun();
    let crun = copy(stage, SYSTEMS)?;
    let mut spec = stage.spec("c1", &["sh", "-c", "sleep 600 & exec sleep 600"]);
    let kinds = ["ipc", "uts", "mount"];
    spec.0["linux"]["namespaces"] = json!(kinds.map(|kind| json!({"type": kind})));
    stage.make_bundle("c1", &spec)?;
    let client = created_of(stage, "c1", &options(&crun))?;
    client.start("c1", "")?;
    wait::until_true("two processes", SOON, || {
        client
            .pids("c1")
            .is_ok_and(|pids| pids.processes.len() == 2)
    })?;
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    let whole = spoil(&crun)?;
    assert!(client.delete("c1", "").is_err(), "deleted without crun");
    fs::rename(&whole, &crun)?;
    client.delete("c1", "")?;
    client.shutdown("c1");
    stage.wait_gone("c1")
}

/// By somebody else: crun says so.
fn what_it_has_started_is_not_started_again(stage: &Stage) -> Outcome {
    let crun = copy(stage, SYSTEMS)?;
    let client = configured(stage, "c1", &crun, "direct")?;
    let root = stage.dir().join("direct").join(stage.namespace());
    let start = Command::new(&crun)
        .arg("--root")
        .arg(&root)
        .args(["start", "c1"])
        .status()?;
    assert!(start.success());
    let error = client.start("c1", "").err().ok_or("it was started")?;
    let says = error.message.starts_with("OCI runtime start failed: ");
    assert!(says && error.message.contains("exec.fifo"), "{error}");
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    client.remove("c1")?;
    client.shutdown("c1");
    stage.wait_gone("c1")
}
