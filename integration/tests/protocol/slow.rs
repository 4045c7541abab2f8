//! A node on which everything takes long: an OCI runtime whose every call takes seconds. Nothing is too late for that, and
//! nothing is killed.

use std::fs;
use std::path::Path;

use containerd_shim_protos::api::Status;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::Options;
use podhook_integration::Outcome;
use podhook_integration::wait::{self, SOON};
use serde_json::{Value, json};

use crate::Test;
use crate::client::Client;
use crate::options::generic;
use crate::podhook_only;
use crate::stage::{Failure, Stage, any};
use crate::tests;
use crate::verbs::kill9;

pub fn tests() -> Vec<Test> {
    let mut all = tests![slow:
        every_call_of_a_slow_runtime_is_waited_for,
        delete_waits_for_a_slow_runtime,
    ];
    // The original's `delete` is killed by containerd after 5 s, with its call of the runtime.
    all.extend(podhook_only(tests![slow:
        a_delete_of_the_runtime_that_takes_longer_than_the_verb_may_goes_on,
        a_hooks_time_begins_when_the_slow_runtime_has_started_the_container,
        an_exec_by_a_slow_runtime_is_waited_for,
    ]));
    all
}

/// A runtime whose calls begin late.
fn slow(stage: &Stage, seconds: &str) -> Result<(Any, String), Failure> {
    let (program, _) = stage.recording_runtime(&format!("sleep {seconds}"))?;
    let options = Options {
        binary_name: program.clone(),
        ..Default::default()
    };
    Ok((any(&options), program))
}

fn created(stage: &Stage, id: &str, options: &Any) -> Result<Client, Failure> {
    let client = stage.start(id, Some(options))?;
    client.create_with(stage, id, options)?;
    Ok(client)
}

fn every_call_of_a_slow_runtime_is_waited_for(stage: &Stage) -> Outcome {
    let (options, _) = slow(stage, "3")?;
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let client = created(stage, "c1", &options)?;
    assert_eq!(client.state("c1", "")?.status(), Status::CREATED);
    client.start("c1", "")?;
    assert_eq!(client.state("c1", "")?.status(), Status::RUNNING);
    client.exec("c1", "e1", &["sh", "-c", "exit 4"])?;
    client.start("c1", "e1")?;
    assert_eq!(client.wait("c1", "e1")?.exit_status, 4);
    client.delete("c1", "e1")?;
    client.kill("c1", "", 9, true)?;
    assert_eq!(client.wait("c1", "")?.exit_status, 137);
    assert_eq!(client.delete("c1", "")?.exit_status, 137);
    client.shutdown("c1");
    stage.wait_gone("c1")
}

/// What containerd does once `delete` has answered.
fn remove_bundle(stage: &Stage, id: &str) -> Outcome {
    let bundle = stage.bundle(id);
    let busy = bundle.join("rootfs");
    wait::until_true("the root filesystem to be unmounted", SOON, || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        !mounts.contains(&busy.display().to_string())
    })?;
    Ok(fs::remove_dir_all(bundle)?)
}

fn wait_nothing_left(stage: &Stage, id: &str) -> Outcome {
    Ok(wait::until_true("the runtime to be done", SOON, || {
        stage.left_of(id).is_empty()
    })?)
}

fn delete_waits_for_a_slow_runtime(stage: &Stage) -> Outcome {
    // The original needs the rest of the 5 s for what comes after.
    let (options, _) = slow(stage, "2.8")?;
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let client = created(stage, "c1", &options)?;
    client.start("c1", "")?;
    kill9(stage.shim_pid("c1"))?;
    let output = stage.delete_verb("c1")?;
    assert!(output.status.success(), "{output:?}");
    remove_bundle(stage, "c1")?;
    wait_nothing_left(stage, "c1")
}

fn a_delete_of_the_runtime_that_takes_longer_than_the_verb_may_goes_on(stage: &Stage) -> Outcome {
    let (program, _) = stage.recording_runtime("case \" $* \" in *' delete '*) sleep 8;; esac")?;
    let options = any(&Options {
        binary_name: program,
        ..Default::default()
    });
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let client = created(stage, "c1", &options)?;
    let init = client.start("c1", "")?.pid;
    kill9(stage.shim_pid("c1"))?;
    let output = stage.delete_verb("c1")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("timed out"), "{said}");
    assert!(!Path::new(&format!("/proc/{init}/cwd")).exists());
    remove_bundle(stage, "c1")?;
    wait_nothing_left(stage, "c1")?;
    // The id is free.
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let client = stage.start("c1", None)?;
    client.run(stage, "c1")?;
    Ok(client.end("c1")?)
}

fn a_hooks_time_begins_when_the_slow_runtime_has_started_the_container(stage: &Stage) -> Outcome {
    let (options, _) = slow(stage, "3")?;
    let mut spec = stage.spec("c1", &["sleep", "600"]);
    let lifecycle = json!({
        "postStart": {"exec": {"command": ["sh", "-c", "exit 0"]}, "timeoutSeconds": 2},
        "preStop": {"exec": {"command": ["sh", "-c", "exit 0"]}, "timeoutSeconds": 2},
    });
    spec.0["annotations"]["podhook.dev/lifecycle"] = lifecycle.to_string().into();
    stage.make_bundle("c1", &spec)?;
    let client = created(stage, "c1", &options)?;
    client.start("c1", "")?;
    client.kill("c1", "", 15, false)?;
    let results = || -> Result<Vec<Value>, Failure> {
        let text = fs::read_to_string(stage.bundle("c1").join("podhook.json"))?;
        let record: Value = serde_json::from_str(&text)?;
        let hooks = record["hooks"].as_array().cloned().unwrap_or_default();
        Ok(hooks.iter().map(|hook| hook["result"].clone()).collect())
    };
    wait::until_true("the end of preStop", SOON, || {
        results().is_ok_and(|results| results.len() == 2 && !results[1].is_null())
    })?;
    assert_eq!(results()?, ["Succeeded", "Succeeded"]);
    Ok(client.end("c1")?)
}

fn an_exec_by_a_slow_runtime_is_waited_for(stage: &Stage) -> Outcome {
    let (_, program) = slow(stage, "3")?;
    let path = stage.dir().join("podhook.toml");
    fs::write(
        &path,
        format!("exec = \"runtime\"\nruntime = \"{program}\"\n"),
    )?;
    let options = generic(&path.display().to_string(), "");
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let client = created(stage, "c1", &options)?;
    client.start("c1", "")?;
    client.exec("c1", "e1", &["sh", "-c", "exit 4"])?;
    client.start("c1", "e1")?;
    assert_eq!(client.wait("c1", "e1")?.exit_status, 4);
    client.delete("c1", "e1")?;
    Ok(client.end("c1")?)
}
