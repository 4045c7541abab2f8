//! Between the OCI runtime's `start` and the container's own program.

use std::thread;
use std::time::Instant;

use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse};
use containerd_shim_protos::shim::oci::Options;
use podhook_integration::Outcome;
use podhook_integration::wait::{self, SOON};
use serde_json::{Value, json};

use crate::Test;
use crate::client::{Client, create_request};
use crate::podhook_only;
use crate::stage::{Failure, Stage, any};
use crate::tests;

pub fn tests() -> Vec<Test> {
    // With the original an exec takes longer, and on busy processors finds the runtime's init all the same.
    podhook_only(tests![entrypoint:
        an_exec_right_after_start_finds_the_containers_own_program,
        a_hook_and_an_exec_wait_for_the_containers_own_program,
        a_program_that_is_never_executed_delays_a_hook_for_seconds_only,
        sigkill_ends_what_waits_for_the_containers_own_program,
    ])
}

/// Succeeds where PID 1 is the `sleep` of these tests.
const LOOK: [&str; 5] = ["busybox", "grep", "-q", "^sleep", "/proc/1/cmdline"];

/// A container whose runtime's `start` returns before init goes on: `later` is what it does instead.
fn slow(stage: &Stage, id: &str, later: &str, lifecycle: &Value) -> Result<Client, Failure> {
    let (program, _) = stage.recording_runtime(&format!("[ \"$7\" = start ] && {{ {later}; }}"))?;
    let spec = stage.spec(id, &["sleep", "600"]);
    let spec = spec.annotation("podhook.dev/lifecycle", &lifecycle.to_string());
    let client = stage.shim_of(id, &spec)?;
    let options = any(&Options {
        binary_name: program,
        ..Default::default()
    });
    let request = CreateTaskRequest {
        options: Some(options).into(),
        ..create_request(stage, id)
    };
    let _: CreateTaskResponse = client.call("Create", &request)?;
    Ok(client)
}

const IN_A_SECOND: &str = "(sleep 1; exec runc \"$@\") & exit 0";
const NEVER: &str = "exit 0";

fn an_exec_right_after_start_finds_the_containers_own_program(stage: &Stage) -> Outcome {
    for number in 0..10 {
        let id = format!("c{number}");
        let client = stage.shim(&id, &["sleep", "600"])?;
        client.create(stage, &id)?;
        client.exec(&id, "look", &LOOK)?;
        client.start(&id, "")?;
        client.start(&id, "look")?;
        assert_eq!(client.wait(&id, "look")?.exit_status, 0, "{id}");
        client.delete(&id, "look")?;
        client.end(&id)?;
    }
    Ok(())
}

fn a_hook_and_an_exec_wait_for_the_containers_own_program(stage: &Stage) -> Outcome {
    let lifecycle = json!({"postStart": {"exec": {"command": LOOK}}});
    let client = slow(stage, "c1", IN_A_SECOND, &lifecycle)?;
    client.start("c1", "")?;
    client.end("c1")?;
    stage.wait_gone("c1")?;

    let client = slow(stage, "c2", IN_A_SECOND, &json!({}))?;
    client.start("c2", "")?;
    client.exec("c2", "look", &LOOK)?;
    client.start("c2", "look")?;
    assert_eq!(client.wait("c2", "look")?.exit_status, 0);
    client.delete("c2", "look")?;
    Ok(client.end("c2")?)
}

fn a_program_that_is_never_executed_delays_a_hook_for_seconds_only(stage: &Stage) -> Outcome {
    let lifecycle = json!({"postStart": {"exec": {"command": ["true"]}}});
    let client = slow(stage, "c1", NEVER, &lifecycle)?;
    client.start("c1", "")?;
    let log = stage.log("c1");
    assert!(
        log.contains("has not executed the container's program"),
        "{log}"
    );
    Ok(client.end("c1")?)
}

fn sigkill_ends_what_waits_for_the_containers_own_program(stage: &Stage) -> Outcome {
    let lifecycle = json!({"postStart": {"exec": {"command": ["true"]}}});
    let client = slow(stage, "c1", NEVER, &lifecycle)?;
    let other = client.again()?;
    let started = thread::spawn(move || other.start("c1", ""));
    wait::until_true("the hook to begin", SOON, || {
        stage.log("c1").contains("hook starts")
    })?;
    let killed = Instant::now();
    client.kill("c1", "", 9, false)?;
    assert_eq!(client.wait("c1", "")?.exit_status, 128 + 9);
    // A job that ends before its hook has is a job that has ended.
    let _ = started.join().map_err(|_| "Start panicked")?;
    let log = stage.log("c1");
    assert!(
        !log.contains("has not executed"),
        "{:?}: {log}",
        killed.elapsed()
    );
    client.delete("c1", "")?;
    client.shutdown("c1");
    Ok(())
}
