//! A runtime that fails, lies, hangs or is killed, at every call: a container's client is told, its other requests are
//! answered, and what init does is told.

use super::fakes::Does;
use super::world::*;

/// One call, where it is made, and the RPC that makes it.
const CALLS: [&str; 9] = [
    "start",
    "exec",
    "kill",
    "kill-all",
    "pause",
    "resume",
    "update",
    "checkpoint",
    "delete",
];

/// A container where the RPC that calls this may come, and that RPC, begun. The answer of an exec's Start is that.
async fn call(world: &World, verb: &'static str, does: Does) -> (Task, Rpc<()>) {
    let task = match verb {
        "start" => world.create("c1", "").await.unwrap(),
        _ => world.running("c1", "").await,
    };
    match verb {
        "kill" | "resume" => assert_eq!(answer(task.pause()).await, "ok"),
        "delete" => {
            task.init_exits(0);
            moment().await;
        }
        "exec" => {
            task.exec("e").unwrap();
            task.plan("engine", Does::Unsupported);
        }
        _ => {}
    }
    task.plan(verb, does);
    let called = task.clone();
    let rpc = tokio::spawn(async move {
        let task = called;
        match verb {
            "start" => task.start().await.unwrap().map(drop),
            "exec" => task.start_exec("e").await.unwrap().map(drop),
            "kill" => task.kill(KILL).await.unwrap(),
            "kill-all" => task.kill_all(TERM).await.unwrap(),
            "pause" => task.pause().await.unwrap(),
            "resume" => task.resume().await.unwrap(),
            "update" => task.update().await.unwrap(),
            "checkpoint" => task.checkpoint().await.unwrap(),
            _ => task.delete().await.unwrap().map(drop),
        }
    });
    (task, rpc)
}

/// Whatever the call did, init's end is told once, and the status is that of the last event.
async fn assert_end_is_told(world: &World, task: &Task) {
    world.fakes.end(task.init(), KILL);
    pass(15.0).await;
    let events = world.events("c1");
    let exits = events.iter().filter(|event| event.starts_with("exit "));
    assert_eq!(exits.count(), 1, "{events:?}");
    assert_eq!(task.status(), containerd_shim_protos::api::Status::STOPPED);
}

#[test]
fn a_call_that_fails_is_told_in_the_runtimes_words() {
    for verb in CALLS {
        story(async {
            let world = World::new();
            let (task, rpc) = call(&world, verb, Does::Fails("for a reason")).await;
            assert_says(
                answer(rpc).await,
                &format!("OCI runtime {verb} failed: for a reason"),
            );
            assert_end_is_told(&world, &task).await;
        });
    }
}

#[test]
fn a_call_that_is_killed_is_told_as_a_failure() {
    for verb in CALLS {
        story(async {
            let world = World::new();
            let (task, rpc) = call(&world, verb, Does::Dies).await;
            assert_says(answer(rpc).await, "did not terminate successfully: killed");
            assert_end_is_told(&world, &task).await;
        });
    }
}

#[test]
fn a_call_that_lies_is_believed_but_for_a_process_that_is_not_there() {
    for verb in CALLS {
        story(async {
            let world = World::new();
            let (task, rpc) = call(&world, verb, Does::Lies).await;
            match verb {
                "exec" => assert_says(answer(rpc).await, ".pid: No such file or directory"),
                _ => assert_eq!(answer(rpc).await, "ok", "{verb}"),
            }
            assert_end_is_told(&world, &task).await;
        });
    }
}

#[test]
fn a_call_that_hangs_holds_up_neither_state_nor_the_end_of_init() {
    for verb in CALLS {
        story(async {
            let world = World::new();
            let (task, rpc) = call(&world, verb, Does::Hangs).await;
            pass(600.0).await;
            let _ = task.status();
            let _ = task.container.pids();
            if matches!(verb, "start") {
                // Start holds the end of init back: it is told after the start.
                assert!(is_pending(&rpc));
                return;
            }
            assert_end_is_told(&world, &task).await;
        });
    }
}

#[test]
fn a_stranger_that_the_runtime_names_for_an_exec_is_never_signalled() {
    story(async {
        let world = World::new();
        let (task, rpc) = call(&world, "exec", Does::NamesAStranger).await;
        assert_eq!(answer(rpc).await, "ok");
        let _ = answer(task.kill_exec("e", KILL)).await;
        assert!(world.signals().is_empty());
        assert_eq!(task.wait("e").await.unwrap().unwrap(), 255);
        assert_end_is_told(&world, &task).await;
    });
}
