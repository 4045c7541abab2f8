//! Start and Delete without the OCI runtime's program, and where that is run all the same: with runc. With crun: `crun`.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use containerd_shim_protos::api::Status;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::Options;
use podhook_integration::containerd::remains;
use podhook_integration::{Generation, OciRuntime, Outcome};
use serde_json::json;

use crate::Test;
use crate::client::Client;
use crate::options::generic;
use crate::podhook_only;
use crate::stage::{Failure, Stage, any};
use crate::tests;
use crate::unless;

pub fn tests() -> Vec<Test> {
    // These are runc's words and runc's work, whoever does it.
    let mut all = tests![direct:
        a_container_that_somebody_else_has_started_is_not_started_again,
        a_container_that_was_paused_before_it_is_started_is_not_started,
        a_poststop_hook_is_run,
    ];
    all.extend(podhook_only(tests![direct:
        start_and_delete_run_no_program,
        no_program_is_run_of_any_tested_version,
        a_program_is_run_where_the_node_says_so,
        sigkill_for_all_runs_no_program_where_the_kernel_kills_all,
        a_script_called_runc_sees_every_call,
        another_program_called_runc_sees_every_call,
        a_container_without_a_pid_namespace_is_deleted_by_runc,
        what_runc_knows_of_is_what_there_is,
    ]));
    all.extend(where_systemd_runs(tests![direct:
        with_systemds_cgroups_start_runs_no_program,
    ]));
    all
}

fn start_and_delete_run_no_program(stage: &Stage) -> Outcome {
    lives(stage, OciRuntime::Runc1_1)
}

fn no_program_is_run_of_any_tested_version(stage: &Stage) -> Outcome {
    [
        OciRuntime::Runc1_3,
        OciRuntime::Runc1_4,
        OciRuntime::Runc1_5,
    ]
    .into_iter()
    .try_for_each(|of| lives(stage, of))
}

fn lives(stage: &Stage, of: OciRuntime) -> Outcome {
    lives_without(stage, of.name(), || copy_of(stage, of))
}

fn with_systemds_cgroups_start_runs_no_program(stage: &Stage) -> Outcome {
    starts_in_a_scope(stage, &copy_of(stage, OciRuntime::Runc1_1)?)
}

/// Shows, too, that a spoilt program is missed where it is run.
fn a_program_is_run_where_the_node_says_so(stage: &Stage) -> Outcome {
    let config = stage.dir().join("podhook.toml");
    let runc = copy_of(stage, OciRuntime::Runc1_5)?;
    let text = format!(
        "runtime = \"{}\"\nruntime_calls = \"program\"\n",
        runc.display()
    );
    fs::write(&config, text)?;
    let client = created(stage, "c1", &generic(&config.display().to_string(), ""))?;
    let whole = spoil(&runc)?;
    assert!(client.start("c1", "").is_err(), "there is no such program");
    fs::rename(whole, &runc)?;
    client.start("c1", "")?;
    end(stage, &client, "c1")
}

/// As containerd's CRI has it: once to end a pod, and once more before it deletes what has ended.
fn sigkill_for_all_runs_no_program_where_the_kernel_kills_all(stage: &Stage) -> Outcome {
    let runc = copy_of(stage, OciRuntime::Runc1_5)?;
    let client = created(stage, "c1", &options(&runc))?;
    client.start("c1", "")?;
    client.exec("c1", "e1", &["sleep", "600"])?;
    client.start("c1", "e1")?;
    spoil(&runc)?;
    client.kill("c1", "", 9, true)?;
    assert_eq!(client.wait("c1", "e1")?.exit_status, 137);
    assert_eq!(client.wait("c1", "")?.exit_status, 137);
    client.kill("c1", "", 9, true)?;
    client.delete("c1", "e1")?;
    client.delete("c1", "")?;
    client.shutdown("c1");
    stage.wait_gone("c1")
}

/// A script in place of runc that notes its calls.
fn recorder(stage: &Stage) -> Result<(PathBuf, PathBuf), Failure> {
    let (script, calls) = stage.recording_runtime("")?;
    let dir = stage.dir().join("scripts");
    fs::create_dir_all(&dir)?;
    let runc = dir.join("runc");
    fs::rename(script, &runc)?;
    Ok((runc, calls))
}

fn assert_called(calls: &Path, verbs: &[&str]) -> Outcome {
    let calls = fs::read_to_string(calls)?;
    for verb in verbs {
        let found = calls
            .lines()
            .any(|call| call.contains(&format!(" {verb} ")));
        assert!(found, "no {verb}: {calls}");
    }
    Ok(())
}

fn a_script_called_runc_sees_every_call(stage: &Stage) -> Outcome {
    let (runc, calls) = recorder(stage)?;
    let client = created(stage, "c1", &options(&runc))?;
    client.start("c1", "")?;
    end(stage, &client, "c1")?;
    assert_called(&calls, &["create", "start", "delete"])
}

/// One that does what runc does may have more to do.
fn another_program_called_runc_sees_every_call(stage: &Stage) -> Outcome {
    let runc = copy_of(stage, OciRuntime::Runc1_5)?;
    let client = created(stage, "c1", &options(&runc))?;
    let (whole, other) = (runc.with_file_name("whole"), runc.with_file_name("other"));
    fs::rename(&runc, &whole)?;
    fs::copy("/bin/busybox", &other)?;
    fs::rename(other, &runc)?;
    let error = client.start("c1", "").err().ok_or("started without it")?;
    let says = error.message.starts_with("OCI runtime start failed: ");
    assert!(says, "{error}");
    fs::rename(whole, &runc)?;
    client.start("c1", "")?;
    end(stage, &client, "c1")
}

/// Tests of systemd's cgroups, with podhook.
pub fn where_systemd_runs(tests: Vec<Test>) -> Vec<Test> {
    unless(podhook_only(tests), |_| {
        (!Path::new("/run/systemd/system").exists()).then_some("systemd does not run here")
    })
}

/// A copy of a runtime's program by its name, in a folder.
pub fn copy(stage: &Stage, folder: &str, program: &Path) -> Result<PathBuf, Failure> {
    let dir = stage.dir().join(folder);
    fs::create_dir_all(&dir)?;
    let copy = dir.join(program.file_name().unwrap_or_default());
    fs::copy(program, &copy)?;
    Ok(copy)
}

/// Makes a file that no kernel executes of it, and that looks the same but for that: one of another processor. Gives
/// where the whole one is then.
pub fn spoil(program: &Path) -> Result<PathBuf, Failure> {
    const MACHINE: u64 = 18;
    let (spoilt, whole) = (
        program.with_file_name("spoilt"),
        program.with_file_name("whole"),
    );
    fs::copy(program, &spoilt)?;
    OpenOptions::new()
        .write(true)
        .open(&spoilt)?
        .write_all_at(&[0xff, 0xff], MACHINE)?;
    fs::rename(program, &whole)?;
    fs::rename(spoilt, program)?;
    let run = Command::new(program).arg("--version").output();
    assert!(!run.is_ok_and(|output| output.status.success()));
    Ok(whole)
}

pub fn options(program: &Path) -> Any {
    any(&Options {
        binary_name: program.display().to_string(),
        ..Default::default()
    })
}

pub fn created(stage: &Stage, id: &str, options: &Any) -> Result<Client, Failure> {
    stage.make_bundle(id, &stage.spec(id, &["sleep", "600"]))?;
    created_of(stage, id, options)
}

pub fn created_of(stage: &Stage, id: &str, options: &Any) -> Result<Client, Failure> {
    let client = stage.start(id, Some(options))?;
    client.create_with(stage, id, options)?;
    Ok(client)
}

pub fn end(stage: &Stage, client: &Client, id: &str) -> Outcome {
    client.kill(id, "", 9, false)?;
    assert_eq!(client.wait(id, "")?.exit_status, 137);
    assert_eq!(client.delete(id, "")?.exit_status, 137);
    let left = stage.left_of(id);
    let left: Vec<_> = left.iter().filter(|it| !it.contains("/rootfs")).collect();
    assert!(left.is_empty(), "{left:?}");
    client.shutdown(id);
    stage.wait_gone(id)
}

/// A container whose runtime, a `copy` of it, cannot be executed any more once it has been created.
pub fn lives_without(
    stage: &Stage,
    id: &str,
    copy: impl Fn() -> Result<PathBuf, Failure>,
) -> Outcome {
    let runtime = copy()?;
    let client = created(stage, id, &options(&runtime))?;
    spoil(&runtime)?;
    client.start(id, "")?;
    assert_eq!(client.state(id, "")?.status(), Status::RUNNING);
    client.exec(id, "e1", &["sh", "-c", "exit 4"])?;
    client.start(id, "e1")?;
    assert_eq!(client.wait(id, "e1")?.exit_status, 4);
    end(stage, &client, id)?;
    // One that was never started.
    let runtime = copy()?;
    let unstarted = format!("{id}-unstarted");
    let client = created(stage, &unstarted, &options(&runtime))?;
    spoil(&runtime)?;
    assert_eq!(client.delete(&unstarted, "")?.exit_status, 137);
    client.shutdown(&unstarted);
    stage.wait_gone(&unstarted)
}

/// Delete is the program's: systemd stops the scope.
pub fn starts_in_a_scope(stage: &Stage, program: &Path) -> Outcome {
    let options = any(&Options {
        binary_name: program.display().to_string(),
        systemd_cgroup: true,
        ..Default::default()
    });
    let mut spec = stage.spec("c1", &["sleep", "600"]);
    spec.0["linux"]["cgroupsPath"] = json!(format!("system.slice:{}:c1", stage.namespace()));
    stage.make_bundle("c1", &spec)?;
    let client = created_of(stage, "c1", &options)?;
    let whole = spoil(program)?;
    client.start("c1", "")?;
    assert_eq!(client.state("c1", "")?.status(), Status::RUNNING);
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    assert!(
        client.delete("c1", "").is_err(),
        "deleted without the program"
    );
    fs::rename(whole, program)?;
    client.delete("c1", "")?;
    client.shutdown("c1");
    stage.wait_gone("c1")
}

/// A copy of this runc, as it is called.
fn copy_of(stage: &Stage, of: OciRuntime) -> Result<PathBuf, Failure> {
    copy(stage, of.name(), &Generation::V2_4.oci_runtime(of)?)
}

fn runc(stage: &Stage, args: &[&str]) -> Result<String, Failure> {
    let root = remains::runc_state(&(stage.namespace().to_owned(), String::new()));
    let output = Command::new("runc")
        .arg("--root")
        .arg(root)
        .args(args)
        .output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn a_container_that_somebody_else_has_started_is_not_started_again(stage: &Stage) -> Outcome {
    let client = created(stage, "c1", &any(&Options::default()))?;
    runc(stage, &["start", "c1"])?;
    let error = client.start("c1", "").err().ok_or("it was started")?;
    let words = "OCI runtime start failed: cannot start an already running container";
    assert_eq!(error.message, words);
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    client.remove("c1")?;
    client.shutdown("c1");
    stage.wait_gone("c1")
}

fn a_container_that_was_paused_before_it_is_started_is_not_started(stage: &Stage) -> Outcome {
    let client = created(stage, "c1", &any(&Options::default()))?;
    runc(stage, &["pause", "c1"])?;
    let error = client.start("c1", "").err().ok_or("it was started")?;
    let words = "OCI runtime start failed: cannot start a container in the paused state";
    assert_eq!(error.message, words);
    runc(stage, &["resume", "c1"])?;
    client.start("c1", "")?;
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    client.delete("c1", "")?;
    client.shutdown("c1");
    stage.wait_gone("c1")
}

fn a_poststop_hook_is_run(stage: &Stage) -> Outcome {
    let told = stage.dir().join("told");
    let mut spec = stage.spec("c1", &["sleep", "600"]);
    let script = format!("cat > {}", told.display());
    spec.0["hooks"] = json!({"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    stage.make_bundle("c1", &spec)?;
    let client = created_of(stage, "c1", &any(&Options::default()))?;
    client.start("c1", "")?;
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    assert!(!told.exists());
    client.delete("c1", "")?;
    let state = fs::read_to_string(told)?;
    assert!(state.contains("\"stopped\""), "{state}");
    client.shutdown("c1");
    stage.wait_gone("c1")
}

/// runc kills what is left in the container's cgroup then.
fn a_container_without_a_pid_namespace_is_deleted_by_runc(stage: &Stage) -> Outcome {
    let (runc, calls) = (
        copy_of(stage, OciRuntime::Runc1_5)?,
        stage.dir().join("deleted"),
    );
    let mut spec = stage.spec("c1", &["sleep", "600"]);
    let namespaces = [
        json!({"type": "ipc"}),
        json!({"type": "uts"}),
        json!({"type": "mount"}),
    ];
    spec.0["linux"]["namespaces"] = json!(namespaces);
    stage.make_bundle("c1", &spec)?;
    let client = created_of(stage, "c1", &options(&runc))?;
    client.start("c1", "")?;
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    let whole = spoil(&runc)?;
    assert!(client.delete("c1", "").is_err(), "deleted without runc");
    let script = format!(
        "#!/bin/sh\necho \"$*\" > {}\nexec {} \"$@\"\n",
        calls.display(),
        whole.display()
    );
    fs::write(runc.with_file_name("next"), script)?;
    fs::set_permissions(
        runc.with_file_name("next"),
        fs::Permissions::from_mode(0o755),
    )?;
    fs::rename(runc.with_file_name("next"), &runc)?;
    client.delete("c1", "")?;
    assert_called(&calls, &["delete"])?;
    client.shutdown("c1");
    stage.wait_gone("c1")
}

fn what_runc_knows_of_is_what_there_is(stage: &Stage) -> Outcome {
    let client = created(stage, "c1", &any(&Options::default()))?;
    let status = |stage| runc(stage, &["list", "--format", "json"]);
    assert!(status(stage)?.contains("\"status\":\"created\""));
    client.start("c1", "")?;
    assert!(status(stage)?.contains("\"status\":\"running\""));
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    assert!(status(stage)?.contains("\"status\":\"stopped\""));
    client.delete("c1", "")?;
    assert_eq!(status(stage)?.trim(), "null");
    client.shutdown("c1");
    stage.wait_gone("c1")
}
