//! Processes made by Exec.

use std::time::Duration;

use super::fakes::Does;
use super::world::*;

#[test]
fn an_exec_is_made_by_the_engine_and_tells_its_exit() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.exec("e").unwrap();
        assert_eq!(answer(task.start_exec("e")).await, "ok");
        task.exec_exits("e", 3);
        assert_eq!(task.wait("e").await.unwrap().unwrap(), 3);
        moment().await;
        assert_eq!(
            world.events("c1")[2..],
            ["exec-added/e", "exec-started/e", "exit/e 3"]
        );
        assert_eq!(world.calls("c1"), ["create", "start"]);
    });
}

#[test]
fn what_the_engine_does_not_do_the_runtime_does() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.plan("engine", Does::Unsupported);
        task.exec("e").unwrap();
        assert_eq!(answer(task.start_exec("e")).await, "ok");
        assert_eq!(world.calls("c1").last().unwrap(), "exec");
        task.exec_exits("e", 2);
        assert_eq!(task.wait("e").await.unwrap().unwrap(), 2);
    });
}

#[test]
fn the_node_can_leave_every_exec_to_the_runtime() {
    story(async {
        let world = World::configured("exec = \"runtime\"\n");
        let task = world.running("c1", "").await;
        task.exec("e").unwrap();
        assert_eq!(answer(task.start_exec("e")).await, "ok");
        assert!(world.fakes.trace(&["engine"]).is_empty());
    });
}

#[test]
fn an_exec_that_cannot_be_made_has_ended_for_who_waits_and_is_told_to_nobody_else() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.plan("engine", Does::Fails("no such user"));
        task.exec("e").unwrap();
        let wait = task.wait("e");
        let told = "UNKNOWN: OCI runtime exec failed: exec failed: no such user";
        assert_eq!(answer(task.start_exec("e")).await, told);
        assert_eq!(wait.await.unwrap().unwrap(), 255);
        assert_eq!(world.events("c1")[2..], ["exec-added/e"]);
        assert_eq!(
            answer(task.start_exec("e")).await,
            "UNKNOWN: cannot start a running process"
        );
    });
}

#[test]
fn an_exec_id_is_taken_once_and_is_no_path() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        assert_eq!(told(task.exec("e")), "ok");
        assert_eq!(told(task.exec("e")), "ALREADY_EXISTS: id e: already exists");
        assert_says(told(task.exec("../e")), "INVALID_ARGUMENT");
        assert_says(told(task.exec("")), "INVALID_ARGUMENT");
    });
}

#[test]
fn no_exec_enters_what_is_paused_or_has_ended() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.exec("before").unwrap();
        assert_eq!(answer(task.pause()).await, "ok");
        assert_eq!(
            told(task.exec("e")),
            "UNKNOWN: cannot exec in a paused state"
        );
        assert_says(
            answer(task.start_exec("before")).await,
            "cannot exec in a paused container",
        );
        assert_eq!(answer(task.resume()).await, "ok");
        task.init_exits(0);
        moment().await;
        assert_eq!(
            told(task.exec("e")),
            "UNKNOWN: cannot exec in a stopped state"
        );
    });
}

#[test]
fn sigkill_ends_an_exec_that_is_being_made() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.plan("engine", Does::Hangs);
        task.exec("e").unwrap();
        let start = task.start_exec("e");
        moment().await;
        assert_eq!(answer(task.kill_exec("e", KILL)).await, "ok");
        assert_says(answer(start).await, "killed while it was started");
        assert_eq!(task.wait("e").await.unwrap().unwrap(), 137);
    });
}

#[test]
fn another_signal_and_delete_wait_until_the_exec_is_made() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.plan("engine", Does::Takes(Duration::from_secs(5)));
        task.exec("e").unwrap();
        let start = task.start_exec("e");
        moment().await;
        let (kill, delete) = (task.kill_exec("e", TERM), task.delete_exec("e"));
        pass(3.0).await;
        assert!(is_pending(&kill) && is_pending(&delete) && world.signals().is_empty());
        assert_eq!(answer(start).await, "ok");
        assert_eq!(answer(kill).await, "ok");
        assert_eq!(world.signals(), ["signal 15 c1/exec"]);
        let _ = delete.await;
    });
}

#[test]
fn an_exec_is_given_up_at_the_clients_deadline() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.plan("engine", Does::Unsupported);
        task.plan("exec", Does::Hangs);
        task.exec("e").unwrap();
        let start = task.start_exec_within("e", Some(Duration::from_secs(4)));
        assert_says(answer(start).await, "context deadline exceeded");
        assert_eq!(world.fakes.trace(&["dropped"]), ["dropped exec c1"]);
    });
}

#[test]
fn the_end_of_init_gives_up_an_exec_that_is_being_made() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.plan("engine", Does::Hangs);
        task.exec("e").unwrap();
        let start = task.start_exec("e");
        moment().await;
        task.init_exits(0);
        let told =
            "FAILED_PRECONDITION: container c1 init process is not running: failed precondition";
        assert_eq!(answer(start).await, told);
        moment().await;
        assert_eq!(world.events("c1")[2..], ["exec-added/e", "exit 0"]);
    });
}
