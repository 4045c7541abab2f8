//! Events: which, in which order, and what becomes of them while containerd is away.

use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse};
use containerd_shim_protos::events::task::{TaskDelete, TaskExit, TaskStart};
use podhook_integration::Outcome;
use podhook_integration::wait::SOON;

use crate::Test;
use crate::client::create_request;
use crate::podhook_only;
use crate::stage::{Kind, Stage};
use crate::tests;

pub fn tests() -> Vec<Test> {
    let mut all = tests![events:
        a_process_that_ends_at_once_has_started_first,
        execs_end_before_init,
        a_failed_exec_has_no_events_of_a_start,
        an_oom_kill_is_told_before_the_exit,
    ];
    all.extend(podhook_only(tests![events:
        events_wait_for_containerd_in_order,
        exits_of_many_execs_at_once_are_all_told,
    ]));
    all
}

fn a_process_that_ends_at_once_has_started_first(stage: &Stage) -> Outcome {
    let group = |id: &str| {
        stage
            .spec(id, &["true"])
            .annotation("io.kubernetes.cri.sandbox-id", "c0")
    };
    let client = stage.shim_of(
        "c0",
        &stage
            .spec("c0", &["sleep", "600"])
            .annotation("io.kubernetes.cri.sandbox-id", "c0"),
    )?;
    client.run(stage, "c0")?;
    for n in 1..=10 {
        let id = format!("c{n}");
        stage.join(&client, &id, &group(&id))?;
        let pid = client.run(stage, &id)?;
        assert_eq!(client.wait(&id, "")?.exit_status, 0);
        client.delete(&id, "")?;
        let all = 2 + n * 4;
        let topics = stage.daemon().wait_count(all, SOON)?;
        let mut of_this = [all - 4, all - 3, all - 2, all - 1];
        if stage.kind.tells_exits_late() && topics[all - 1] == "exit" {
            of_this.swap(2, 3);
        }
        let in_order = of_this.map(|event| topics[event].as_str());
        assert_eq!(in_order, ["create", "start", "exit", "delete"]);
        let events = stage.daemon().events();
        let start: TaskStart = events[of_this[1]].body();
        let exit: TaskExit = events[of_this[2]].body();
        let delete: TaskDelete = events[of_this[3]].body();
        assert_eq!((start.pid, exit.pid, delete.pid), (pid, pid, pid));
        assert_eq!(
            (exit.id, exit.container_id, delete.container_id),
            (id.clone(), id.clone(), id)
        );
        assert_eq!(exit.exited_at, delete.exited_at);
    }
    Ok(client.end("c0")?)
}

fn execs_end_before_init(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    for n in 0..5 {
        let exec = format!("e{n}");
        client.exec("c1", &exec, &["sleep", "600"])?;
        client.start("c1", &exec)?;
    }
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    // No exec starts in a container that is gone.
    assert!(client.exec("c1", "late", &["true"]).is_err());
    let events = {
        stage.daemon().wait_count(2 + 10 + 6, SOON)?;
        stage.daemon().events()
    };
    let exits: Vec<TaskExit> = events
        .iter()
        .filter(|e| e.topic == "/tasks/exit")
        .map(crate::daemon::Event::body)
        .collect();
    assert_eq!(exits.len(), 6);
    assert_eq!(exits[5].id, "c1");
    assert!(exits.iter().all(|exit| exit.exit_status == 137));
    for n in 0..5 {
        client.delete("c1", &format!("e{n}"))?;
    }
    client.delete("c1", "")?;
    client.shutdown("c1");
    Ok(())
}

fn a_failed_exec_has_no_events_of_a_start(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    client.exec("c1", "e", &["/no/such/program"])?;
    let error = client.start("c1", "e").err().ok_or("it started")?;
    assert!(
        error.message.starts_with("OCI runtime exec failed: "),
        "{error}"
    );
    client.delete("c1", "e")?;
    client.remove("c1")?;
    client.shutdown("c1");
    // The shim's end may take the last one along.
    let sure = if stage.kind.tells_exits_late() { 3 } else { 4 };
    let topics = stage.daemon().wait_count(sure, SOON)?;
    if stage.kind == Kind::Podhook {
        let topics = stage.daemon().wait_count(5, SOON)?;
        assert_eq!(topics, ["create", "start", "exec-added", "exit", "delete"]);
    } else {
        // The original tells of an exit with pid 0 as well.
        assert!(!topics.contains(&"exec-started".to_owned()), "{topics:?}");
    }
    Ok(())
}

fn an_oom_kill_is_told_before_the_exit(stage: &Stage) -> Outcome {
    let mut spec = stage.spec(
        "c1",
        &["sh", "-c", "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done"],
    );
    spec.0["linux"]["resources"]["memory"] =
        serde_json::json!({"limit": 16 << 20, "swap": 16 << 20});
    let client = stage.shim_of("c1", &spec)?;
    let _: CreateTaskResponse = client.call(
        "Create",
        &CreateTaskRequest {
            ..create_request(stage, "c1")
        },
    )?;
    client.start("c1", "")?;
    assert_eq!(client.wait("c1", "")?.exit_status, 137);
    let topics = stage.daemon().wait_count(4, SOON)?;
    if stage.kind == Kind::Podhook {
        assert_eq!(topics, ["create", "start", "oom", "exit"]);
    } else {
        // The original orders them since 2.3 only.
        assert!(topics.contains(&"oom".to_owned()), "{topics:?}");
    }
    Ok(client.end("c1")?)
}

fn events_wait_for_containerd_in_order(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    stage.daemon().wait("start", SOON)?;
    let mut expected = vec!["create".to_owned(), "start".to_owned()];
    stage.daemon().down();
    for n in 0..200 {
        let exec = format!("e{n}");
        client.exec("c1", &exec, &["true"])?;
        client.start("c1", &exec)?;
        assert_eq!(client.wait("c1", &exec)?.exit_status, 0);
        client.delete("c1", &exec)?;
        expected.extend(["exec-added", "exec-started", "exit"].map(str::to_owned));
    }
    stage.daemon().up()?;
    let topics = stage.daemon().wait_count(expected.len(), SOON)?;
    assert_eq!(topics, expected);
    Ok(client.end("c1")?)
}

fn exits_of_many_execs_at_once_are_all_told(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|t| {
                let client = client.clone();
                scope.spawn(move || -> Result<(), crate::client::Refused> {
                    for n in 0..20 {
                        let exec = format!("e{t}-{n}");
                        client.exec("c1", &exec, &["sh", "-c", &format!("exit {n}")])?;
                        client.start("c1", &exec)?;
                        assert_eq!(client.wait("c1", &exec)?.exit_status, n);
                        client.delete("c1", &exec)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "panicked")??;
        }
        Ok::<(), crate::stage::Failure>(())
    })?;
    let topics = stage.daemon().wait_count(2 + 3 * 160, SOON)?;
    assert_eq!(topics.iter().filter(|topic| *topic == "exit").count(), 160);
    Ok(client.end("c1")?)
}
