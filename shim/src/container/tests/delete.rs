//! Delete.

use super::fakes::Does;
use super::world::*;

#[test]
fn delete_of_a_created_container_kills_it_and_tells_its_exit_first() {
    story(async {
        let world = World::new();
        let task = world.create("c1", POST).await.unwrap();
        let deleted = task.delete().await.unwrap().unwrap();
        assert_eq!(deleted.exit_status, 137);
        assert_eq!(world.signals(), ["signal 9 c1"]);
        assert_eq!(world.events("c1"), ["create", "exit 137", "delete 137"]);
        assert_eq!(world.calls("c1"), ["create", "delete"]);
        assert_eq!(world.fakes.trace(&["unmount"]).len(), 1);
    });
}

#[test]
fn delete_of_a_running_container_is_refused() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        assert_eq!(
            answer(task.delete()).await,
            "UNKNOWN: cannot delete a running process"
        );
        assert_eq!(world.calls("c1"), ["create", "start"]);
    });
}

#[test]
fn delete_of_a_paused_container_is_refused() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        assert_eq!(answer(task.pause()).await, "ok");
        assert_eq!(
            answer(task.delete()).await,
            "UNKNOWN: cannot delete a paused process"
        );
    });
}

#[test]
fn a_second_delete_finds_nothing() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.init_exits(0);
        moment().await;
        let (first, second) = (task.delete(), task.delete());
        assert_eq!(answer(first).await, "ok");
        assert_eq!(
            answer(second).await,
            "NOT_FOUND: container not created: not found"
        );
        assert_eq!(
            world.events("c1"),
            ["create", "start", "exit 0", "delete 0"]
        );
        assert_eq!(world.calls("c1"), ["create", "start", "delete"]);
    });
}

#[test]
fn a_delete_that_the_runtime_refuses_can_be_tried_again() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.init_exits(0);
        moment().await;
        task.plan("delete", Does::Fails("device or resource busy"));
        assert_says(
            answer(task.delete()).await,
            "UNKNOWN: OCI runtime delete failed: device or resource busy",
        );
        assert_eq!(world.events("c1"), ["create", "start", "exit 0"]);
        assert_eq!(answer(task.delete()).await, "ok");
        assert_eq!(world.events("c1").last().unwrap(), "delete 0");
    });
}

#[test]
fn an_exec_that_runs_is_not_deleted_and_one_that_has_ended_is() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.exec("e").unwrap();
        assert_eq!(answer(task.start_exec("e")).await, "ok");
        assert_eq!(
            answer(task.delete_exec("e")).await,
            "UNKNOWN: cannot delete a running process"
        );
        task.exec_exits("e", 4);
        moment().await;
        assert_eq!(task.delete_exec("e").await.unwrap().unwrap().exit_status, 4);
        let gone = "NOT_FOUND: process does not exist e: not found";
        assert_eq!(answer(task.delete_exec("e")).await, gone);
    });
}
