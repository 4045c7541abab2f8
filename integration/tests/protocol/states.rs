//! Every RPC in every state: what is answered, and in which words.

use containerd_shim_protos::api::Status;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Outcome};
use serde_json::json;
use ttrpc::Code;

use crate::Test;
use crate::client::{Answer, Client};
use crate::stage::{Kind, Stage};
use crate::tests;

pub fn tests() -> Vec<Test> {
    tests![states:
        created,
        running,
        paused,
        stopped,
        deleted,
        an_id_is_taken_once,
        an_exec_that_was_not_started,
        a_paused_container_takes_no_execs,
        a_stopped_container_takes_no_execs,
        a_failed_create_leaves_nothing,
        resize_without_a_terminal_is_no_error,
        processes_of_execs_are_named,
        connect_never_fails,
    ]
}

/// The answer must be this error.
fn refused<T: std::fmt::Debug>(answer: Answer<T>, code: Code, message: &str) {
    match answer {
        Err(error) => assert_eq!((error.code, error.message.as_str()), (code, message)),
        Ok(answer) => panic!("not refused with {message:?}: {answer:?}"),
    }
}

fn unknown<T: std::fmt::Debug>(answer: Answer<T>, message: &str) {
    refused(answer, Code::UNKNOWN, message);
}

fn status(client: &Client, id: &str) -> Answer<Status> {
    Ok(client.state(id, "")?.status.enum_value_or_default())
}

/// These events, and no others. The original of 2.1 at times ends before its last one is out.
fn expect_events(stage: &Stage, expected: &[&str]) -> Outcome {
    if stage.kind.tells_exits_late() {
        let but_delete = |topics: &[String]| {
            let topics = topics.iter().filter(|topic| *topic != "delete");
            topics.cloned().collect::<Vec<_>>()
        };
        let expected = but_delete(
            &expected
                .iter()
                .map(|topic| (*topic).to_owned())
                .collect::<Vec<_>>(),
        );
        let sure = &expected[..expected.len() - 1];
        let topics = wait::until("the events", SOON, || {
            let topics = but_delete(&stage.daemon().topics());
            (topics.len() >= sure.len()).then_some(topics)
        })?;
        assert_eq!(topics[..sure.len()], *sure);
        return Ok(());
    }
    let (sure, last) = expected.split_at(expected.len() - 1);
    let topics = stage.daemon().wait_count(sure.len(), SOON)?;
    assert_eq!(topics[..sure.len()], *sure);
    if stage.kind == Kind::Podhook {
        let topics = stage.daemon().wait_count(expected.len(), SOON)?;
        assert_eq!(topics[sure.len()..], *last);
    }
    Ok(())
}

fn created(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let pid = client.create(stage, "c1")?.pid;
    let state = client.state("c1", "")?;
    assert_eq!(
        (state.status.enum_value_or_default(), state.pid),
        (Status::CREATED, pid)
    );
    assert_eq!(state.bundle, stage.bundle("c1").display().to_string());
    unknown(client.pause("c1"), "cannot pause task in created state");
    unknown(client.resume("c1"), "cannot resume task in created state");
    unknown(
        client.checkpoint("c1", "/tmp/none", None),
        "cannot checkpoint a task in created state",
    );
    client.update("c1", &json!({"cpu": {"shares": 512}}))?;
    assert_eq!(client.pids("c1")?.processes[0].pid, pid);
    client.stats("c1")?;
    // Killed before it was started, it has ended as any other.
    client.kill("c1", "", 9, false)?;
    assert_eq!(client.wait("c1", "")?.exit_status, 137);
    let deleted = client.delete("c1", "")?;
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 137));
    client.shutdown("c1");
    expect_events(stage, &["create", "exit", "delete"])?;
    Ok(())
}

fn running(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    assert_eq!(status(&client, "c1")?, Status::RUNNING);
    unknown(client.start("c1", ""), "cannot start a running process");
    unknown(client.delete("c1", ""), "cannot delete a running process");
    unknown(client.resume("c1"), "cannot resume a running process");
    refused(
        client.state("c1", "none"),
        Code::NOT_FOUND,
        "process does not exist none: not found",
    );
    refused(
        client.kill("c1", "none", 15, false),
        Code::NOT_FOUND,
        "process does not exist none: not found",
    );
    refused(
        client.wait("c1", "none"),
        Code::NOT_FOUND,
        "process does not exist none: not found",
    );
    Ok(client.end("c1")?)
}

fn paused(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    client.exec("c1", "before", &["sleep", "600"])?;
    client.start("c1", "before")?;
    client.pause("c1")?;
    assert_eq!(status(&client, "c1")?, Status::PAUSED);
    // Its execs are paused with it.
    assert_eq!(
        client.state("c1", "before")?.status.enum_value_or_default(),
        Status::PAUSED
    );
    unknown(client.start("c1", ""), "cannot start a paused process");
    unknown(client.delete("c1", ""), "cannot delete a paused process");
    unknown(client.pause("c1"), "cannot pause a paused container");
    assert!(client.exec("c1", "e", &["true"]).is_err());
    client.resume("c1")?;
    assert_eq!(status(&client, "c1")?, Status::RUNNING);
    client.pause("c1")?;
    // SIGKILL ends what is paused, too.
    client.kill("c1", "", 9, false)?;
    assert_eq!(client.wait("c1", "")?.exit_status, 137);
    assert_eq!(status(&client, "c1")?, Status::STOPPED);
    client.delete("c1", "before")?;
    client.delete("c1", "")?;
    client.shutdown("c1");
    let expected = "create start exec-added exec-started paused resumed paused exit exit delete";
    expect_events(stage, &expected.split(' ').collect::<Vec<_>>())?;
    Ok(())
}

fn stopped(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sh", "-c", "exit 7"])?;
    client.run(stage, "c1")?;
    assert_eq!(client.wait("c1", "")?.exit_status, 7);
    let state = client.state("c1", "")?;
    assert_eq!(
        (state.status.enum_value_or_default(), state.exit_status),
        (Status::STOPPED, 7)
    );
    assert!(state.exited_at.is_some());
    unknown(client.start("c1", ""), "cannot start a stopped process");
    unknown(client.pause("c1"), "cannot pause a stopped container");
    unknown(client.resume("c1"), "cannot resume a stopped container");
    unknown(
        client.update("c1", &json!({})),
        "cannot update a stopped container",
    );
    unknown(
        client.checkpoint("c1", "/tmp/none", None),
        "cannot checkpoint a stopped container",
    );
    let finished = "process already finished: not found";
    refused(client.kill("c1", "", 15, false), Code::NOT_FOUND, finished);
    // Whoever is left of it: here nobody, and the runtime says yes.
    client.kill("c1", "", 15, true)?;
    client.kill("c1", "", 9, true)?;
    assert!(client.exec("c1", "e", &["true"]).is_err());
    client.close_stdin("c1", "")?;
    client.resize("c1", "", 80, 24)?;
    // Its cgroup is there until it is deleted: CRI of 2.3 asks for OOM kills only now.
    client.stats("c1")?;
    // Still to be waited for, until it is deleted.
    assert_eq!(client.wait("c1", "")?.exit_status, 7);
    Ok(client.end("c1")?)
}

fn deleted(stage: &Stage) -> Outcome {
    // A second container keeps the shim.
    let group = |id| {
        stage
            .spec(id, &["sleep", "600"])
            .annotation("io.kubernetes.cri.sandbox-id", "c0")
    };
    let client = stage.shim_of("c0", &group("c0"))?;
    client.run(stage, "c0")?;
    stage.join(&client, "c1", &group("c1"))?;
    client.run(stage, "c1")?;
    client.remove("c1")?;
    let gone = "container not created: not found";
    refused(client.state("c1", ""), Code::NOT_FOUND, gone);
    refused(client.start("c1", ""), Code::NOT_FOUND, gone);
    refused(client.delete("c1", ""), Code::NOT_FOUND, gone);
    refused(client.kill("c1", "", 9, false), Code::NOT_FOUND, gone);
    refused(client.wait("c1", ""), Code::NOT_FOUND, gone);
    refused(client.pids("c1"), Code::NOT_FOUND, gone);
    refused(client.pause("c1"), Code::NOT_FOUND, gone);
    refused(client.resume("c1"), Code::NOT_FOUND, gone);
    refused(client.stats("c1"), Code::NOT_FOUND, gone);
    refused(client.update("c1", &json!({})), Code::NOT_FOUND, gone);
    refused(client.exec("c1", "e", &["true"]), Code::NOT_FOUND, gone);
    refused(
        client.checkpoint("c1", "/tmp/none", None),
        Code::NOT_FOUND,
        gone,
    );
    refused(client.resize("c1", "", 1, 1), Code::NOT_FOUND, gone);
    refused(client.close_stdin("c1", ""), Code::NOT_FOUND, gone);
    // While another container is there, Shutdown says yes and does nothing.
    client.shutdown("c1");
    assert_eq!(status(&client, "c0")?, Status::RUNNING);
    client.end("c0")?;
    stage.wait_gone("c0")
}

fn an_id_is_taken_once(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    client.exec("c1", "e", &["true"])?;
    refused(
        client.exec("c1", "e", &["true"]),
        Code::ALREADY_EXISTS,
        "id e: already exists",
    );
    client.delete("c1", "e")?;
    client.exec("c1", "e", &["true"])?;
    Ok(client.end("c1")?)
}

fn an_exec_that_was_not_started(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    client.exec("c1", "e", &["sleep", "600"])?;
    let state = client.state("c1", "e")?;
    assert_eq!(
        (state.status.enum_value_or_default(), state.pid),
        (Status::CREATED, 0)
    );
    refused(
        client.kill("c1", "e", 15, false),
        Code::FAILED_PRECONDITION,
        "process not created: failed precondition",
    );
    client.resize("c1", "e", 80, 24)?;
    client.close_stdin("c1", "e")?;
    let pid = client.start("c1", "e")?.pid;
    assert_eq!(client.state("c1", "e")?.pid, pid);
    if !matches!(stage.kind, Kind::Go(generation) if generation >= Generation::V2) {
        // The original of 2.x counts this exec down twice, and panics when init ends.
        unknown(client.start("c1", "e"), "cannot start a running process");
    }
    unknown(client.delete("c1", "e"), "cannot delete a running process");
    client.kill("c1", "e", 15, false)?;
    assert_eq!(client.wait("c1", "e")?.exit_status, 128 + 15);
    wait::until_true("the exec to be stopped", SOON, || {
        client
            .state("c1", "e")
            .is_ok_and(|state| state.status.enum_value_or_default() == Status::STOPPED)
    })?;
    refused(
        client.kill("c1", "e", 15, false),
        Code::NOT_FOUND,
        "process already finished: not found",
    );
    unknown(
        client.resize("c1", "e", 80, 24),
        "cannot resize a stopped container",
    );
    let deleted = client.delete("c1", "e")?;
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 143));
    refused(
        client.delete("c1", "e"),
        Code::NOT_FOUND,
        "process does not exist e: not found",
    );
    Ok(client.end("c1")?)
}

fn a_paused_container_takes_no_execs(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    client.exec("c1", "e", &["true"])?;
    client.pause("c1")?;
    unknown(
        client.exec("c1", "f", &["true"]),
        "cannot exec in a paused state",
    );
    refused(
        client.exec("c1", "e", &["true"]),
        Code::ALREADY_EXISTS,
        "id e: already exists",
    );
    // Not once it is thawed: at once, and for good.
    unknown(
        client.start("c1", "e"),
        "OCI runtime exec failed: exec failed: cannot exec in a paused container (use --ignore-paused to override)",
    );
    client.resume("c1")?;
    client.delete("c1", "e")?;
    client.exec("c1", "e", &["true"])?;
    client.start("c1", "e")?;
    assert_eq!(client.wait("c1", "e")?.exit_status, 0);
    Ok(client.end("c1")?)
}

fn a_stopped_container_takes_no_execs(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    client.exec("c1", "e", &["true"])?;
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    unknown(
        client.exec("c1", "f", &["true"]),
        "cannot exec in a stopped state",
    );
    refused(
        client.exec("c1", "e", &["true"]),
        Code::ALREADY_EXISTS,
        "id e: already exists",
    );
    if stage.kind == Kind::Go(Generation::V1_6) {
        // It leaves it to runc.
        unknown(
            client.start("c1", "e"),
            "OCI runtime exec failed: exec failed: cannot exec in a stopped container",
        );
    } else {
        refused(
            client.start("c1", "e"),
            Code::FAILED_PRECONDITION,
            "container c1 init process is not running: failed precondition",
        );
    }
    Ok(client.end("c1")?)
}

fn a_failed_create_leaves_nothing(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["/no/such/program"])?;
    let error = client.create(stage, "c1").err().ok_or("it was created")?;
    assert!(
        error.message.starts_with("OCI runtime create failed: "),
        "{error}"
    );
    assert!(
        error.message.contains("no such file or directory"),
        "{error}"
    );
    // What containerd does then.
    refused(
        client.delete("c1", ""),
        Code::NOT_FOUND,
        "container not created: not found",
    );
    client.shutdown("c1");
    stage.wait_gone("c1")?;
    assert_eq!(stage.daemon().topics(), [""; 0]);
    Ok(())
}

fn resize_without_a_terminal_is_no_error(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    client.resize("c1", "", 80, 24)?;
    Ok(client.end("c1")?)
}

fn processes_of_execs_are_named(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let init = client.run(stage, "c1")?;
    client.exec("c1", "e", &["sleep", "600"])?;
    let exec = client.start("c1", "e")?.pid;
    let mut processes = client.pids("c1")?.processes;
    processes.sort_by_key(|process| process.pid != init);
    assert_eq!(
        processes.iter().map(|p| p.pid).collect::<Vec<_>>(),
        [init, exec]
    );
    assert!(processes[0].info.is_none());
    let info = processes[1].info.clone().unwrap_or_default();
    assert_eq!(info.type_url, "containerd.runc.v1.ProcessDetails");
    assert_eq!(info.value, [10, 1, b'e']);
    Ok(client.end("c1")?)
}

fn connect_never_fails(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let shim_pid = stage.shim_pid("c1").map(i32::cast_unsigned);
    let before = client.connect_rpc("c1")?;
    assert_eq!((Some(before.shim_pid), before.task_pid), (shim_pid, 0));
    let pid = client.run(stage, "c1")?;
    assert_eq!(client.connect_rpc("c1")?.task_pid, pid);
    assert_eq!(client.connect_rpc("another")?.task_pid, 0);
    Ok(client.end("c1")?)
}
