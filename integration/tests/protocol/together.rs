//! Several containers in one shim: none holds up another.

use std::thread;

use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse, Status};
use containerd_shim_protos::shim::oci::Options;
use podhook_integration::Outcome;
use podhook_integration::wait::{self, SOON};

use crate::Test;
use crate::bundle::Spec;
use crate::client::{Client, Refused, create_request};
use crate::podhook_only;
use crate::stage::{Failure, Kind, Stage, any};
use crate::tests;

pub fn tests() -> Vec<Test> {
    let mut all = tests![together: a_failed_start_may_be_tried_again];
    all.extend(podhook_only(tests![together:
        a_runtime_that_hangs_in_create_holds_up_nobody_else,
        a_runtime_that_hangs_in_start_holds_up_nobody_else,
        many_containers_come_and_go_at_once,
    ]));
    all
}

fn member(stage: &Stage, id: &str, args: &[&str]) -> Spec {
    stage
        .spec(id, args)
        .annotation("io.kubernetes.cri.sandbox-id", "c0")
}

/// The shim of a group, with its first container.
fn group(stage: &Stage) -> Result<Client, Failure> {
    let client = stage.shim_of("c0", &member(stage, "c0", &["sleep", "600"]))?;
    client.run(stage, "c0")?;
    Ok(client)
}

fn with_runtime(stage: &Stage, id: &str, body: &str) -> Result<CreateTaskRequest, Failure> {
    let (binary_name, _) = stage.recording_runtime(body)?;
    let options = any(&Options {
        binary_name,
        ..Default::default()
    });
    Ok(CreateTaskRequest {
        options: Some(options).into(),
        ..create_request(stage, id)
    })
}

fn a_failed_start_may_be_tried_again(stage: &Stage) -> Outcome {
    let (fails, failed) = (stage.dir().join("fails"), stage.dir().join("failed"));
    std::fs::write(&fails, "")?;
    let body = format!(
        "case \" $* \" in *' start '*) [ -e {} ] && {{ touch {}; exit 1; }};; esac",
        fails.display(),
        failed.display()
    );
    let client = stage.shim("c1", &["sleep", "600"])?;
    let _: CreateTaskResponse = client.call("Create", &with_runtime(stage, "c1", &body)?)?;
    let error = client.start("c1", "").err().ok_or("it started")?;
    assert!(
        error.message.starts_with("OCI runtime start failed: "),
        "{error}"
    );
    assert!(failed.exists());
    let state = client.state("c1", "")?;
    assert_eq!(state.status.enum_value_or_default(), Status::CREATED);
    assert_eq!(stage.daemon().wait_count(1, SOON)?, ["create"]);
    std::fs::remove_file(fails)?;
    client.start("c1", "")?;
    assert_eq!(stage.daemon().wait_count(2, SOON)?, ["create", "start"]);
    Ok(client.end("c1")?)
}

/// While `busy` hangs in the runtime, another container lives its whole life.
fn meanwhile(stage: &Stage, client: &Client, hung: impl Fn() -> bool) -> Outcome {
    stage.join(
        client,
        "other",
        &member(stage, "other", &["sh", "-c", "exit 3"]),
    )?;
    client.run(stage, "other")?;
    assert_eq!(client.wait("other", "")?.exit_status, 3);
    client.delete("other", "")?;
    client.exec("c0", "e", &["true"])?;
    client.start("c0", "e")?;
    client.wait("c0", "e")?;
    client.delete("c0", "e")?;
    let state = client.state("c0", "")?;
    assert_eq!(state.status.enum_value_or_default(), Status::RUNNING);
    assert!(hung(), "it has not hung all the time");
    Ok(())
}

fn hangs(stage: &Stage, verb: &str) -> String {
    let go = stage.dir().join("go");
    format!(
        "case \" $* \" in *' {verb} '*) until [ -e {} ]; do sleep 0.05; done;; esac",
        go.display()
    )
}

fn a_runtime_that_hangs_in_create_holds_up_nobody_else(stage: &Stage) -> Outcome {
    let client = group(stage)?;
    stage.join(&client, "c1", &member(stage, "c1", &["sleep", "600"]))?;
    let request = with_runtime(stage, "c1", &hangs(stage, "create"))?;
    let creating = {
        let client = client.clone();
        thread::spawn(move || client.call::<CreateTaskResponse>("Create", &request))
    };
    wait::until_true("the runtime to be called", SOON, || {
        stage.dir().join("calls").exists()
    })?;
    meanwhile(stage, &client, || !creating.is_finished())?;
    std::fs::write(stage.dir().join("go"), "")?;
    creating.join().map_err(|_| "panicked")??;
    client.remove("c1")?;
    Ok(client.end("c0")?)
}

fn a_runtime_that_hangs_in_start_holds_up_nobody_else(stage: &Stage) -> Outcome {
    let client = group(stage)?;
    stage.join(&client, "c1", &member(stage, "c1", &["sleep", "600"]))?;
    let request = with_runtime(stage, "c1", &hangs(stage, "start"))?;
    let created: CreateTaskResponse = client.call("Create", &request)?;
    let starting = {
        let client = client.clone();
        thread::spawn(move || client.start("c1", ""))
    };
    wait::until_true("the runtime to be called", SOON, || {
        std::fs::read_to_string(stage.dir().join("calls"))
            .is_ok_and(|calls| calls.contains(" start "))
    })?;
    meanwhile(stage, &client, || !starting.is_finished())?;
    // The container itself answers, too: containerd gives State 2 s.
    let state = client.state("c1", "")?;
    assert_eq!(
        (state.status.enum_value_or_default(), state.pid),
        (Status::CREATED, created.pid)
    );
    client.stats("c1")?;
    std::fs::write(stage.dir().join("go"), "")?;
    starting.join().map_err(|_| "panicked")??;
    client.remove("c1")?;
    Ok(client.end("c0")?)
}

fn many_containers_come_and_go_at_once(stage: &Stage) -> Outcome {
    assert_eq!(stage.kind, Kind::Podhook);
    let client = group(stage)?;
    let life = |id: &str| -> Result<(), Refused> {
        for round in 0..3 {
            client.run(stage, id)?;
            for n in 0..5_u32 {
                let exec = format!("e{n}");
                client.exec(id, &exec, &["sh", "-c", &format!("exit {n}")])?;
                client.start(id, &exec)?;
                assert_eq!(client.wait(id, &exec)?.exit_status, n);
                client.delete(id, &exec)?;
            }
            if round == 1 {
                client.pause(id)?;
                client.resume(id)?;
            }
            client.stats(id)?;
            client.pids(id)?;
            client.kill(id, "", 9, round == 2)?;
            assert_eq!(client.wait(id, "")?.exit_status, 137);
            client.delete(id, "")?;
        }
        Ok(())
    };
    let ids: Vec<_> = (1..=8).map(|n| format!("c{n}")).collect();
    for id in &ids {
        stage.join(&client, id, &member(stage, id, &["sleep", "600"]))?;
    }
    thread::scope(|scope| {
        let lives: Vec<_> = ids.iter().map(|id| scope.spawn(|| life(id))).collect();
        for life in lives {
            life.join().map_err(|_| "panicked")??;
        }
        Ok::<(), Failure>(())
    })?;
    let events = stage
        .daemon()
        .wait_count(2 + 8 * (3 * (4 + 5 * 3) + 2), SOON)?;
    let count = |topic: &str| events.iter().filter(|have| *have == topic).count();
    assert_eq!((count("start"), count("delete")), (25, 24));
    assert_eq!(count("exit"), 8 * 3 * 6);
    Ok(client.end("c0")?)
}
