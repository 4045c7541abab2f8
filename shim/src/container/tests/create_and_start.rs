//! Create and Start, and what of them goes wrong.

use std::time::Duration;

use containerd_shim_protos::api::Status;
use serde_json::json;

use super::fakes::Does;
use super::world::*;

#[test]
fn a_container_is_created_started_and_ends() {
    story(async {
        let world = World::new();
        let task = world.create("c1", "").await.unwrap();
        assert_eq!(task.status(), Status::CREATED);
        assert_eq!(answer(task.start()).await, "ok");
        assert_eq!(task.status(), Status::RUNNING);
        task.init_exits(7);
        assert_eq!(task.wait("").await.unwrap().unwrap(), 7);
        assert_eq!(task.status(), Status::STOPPED);
        assert_eq!(answer(task.delete()).await, "ok");
        let events = ["create", "start", "exit 7", "delete 7"];
        assert_eq!(world.events("c1"), events);
        assert_eq!(world.calls("c1"), ["create", "start", "delete"]);
        assert_eq!(task.record(), json!(null), "it has no lifecycle");
    });
}

#[test]
fn a_second_start_is_refused() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        let refused = "UNKNOWN: cannot start a running process";
        assert_eq!(answer(task.start()).await, refused);
        assert_eq!(world.events("c1"), ["create", "start"]);
    });
}

#[test]
fn an_id_that_is_a_path_is_refused_before_anything_is_made() {
    story(async {
        let world = World::new();
        let mut request = world.request("c1", json!({}));
        request.id = "../c1".to_owned();
        let error = world.create_by(request).await.err().unwrap();
        assert_says(told_of(error), "INVALID_ARGUMENT: invalid container id");
        assert!(world.fakes.lock().trace.is_empty());
    });
}

#[test]
fn a_lifecycle_that_is_wrong_fails_create_before_the_runtime_is_called() {
    story(async {
        let world = World::new();
        let wrong = r#"{"postStart": {"exec": {"command": []}}}"#;
        let error = world.create("c1", wrong).await.err().unwrap();
        let told = told_of(error);
        assert_says(&told, "INVALID_ARGUMENT");
        assert_says(&told, "postStart.exec.command: must not be empty");
        assert!(world.fakes.lock().trace.is_empty());
    });
}

#[test]
fn a_rootfs_that_cannot_be_mounted_fails_create_before_the_runtime_is_called() {
    story(async {
        let world = World::new();
        world.fakes.lock().mounts_fail = true;
        let error = world.create("c1", "").await.err().unwrap();
        assert_says(told_of(error), "UNKNOWN: mount: ");
        assert!(world.calls("c1").is_empty());
        assert!(world.events("c1").is_empty());
    });
}

#[test]
fn a_create_that_the_runtime_refuses_leaves_nothing() {
    story(async {
        let world = World::new();
        world.fakes.plan("create", Does::Fails("no such cgroup"));
        let error = world.create("c1", "").await.err().unwrap();
        let refused = "UNKNOWN: OCI runtime create failed: no such cgroup";
        assert_eq!(told_of(error), refused);
        assert_eq!(world.calls("c1"), ["create"]);
        assert_eq!(world.fakes.trace(&["unmount"]).len(), 1);
        assert!(world.events("c1").is_empty());
    });
}

#[test]
fn a_create_whose_runtime_is_killed_is_cleared_away() {
    story(async {
        let world = World::new();
        world.fakes.plan("create", Does::Dies);
        assert!(world.create("c1", "").await.is_err());
        assert_eq!(world.calls("c1"), ["create", "delete force"]);
        assert!(!world.fakes.is_known("c1"));
        assert!(world.fakes.alive_in("c1").is_empty());
        assert!(!world.deps.taken.contains("c1"));
    });
}

#[test]
fn what_cannot_be_cleared_away_is_tried_again_and_keeps_the_id() {
    story(async {
        let world = World::new();
        world.fakes.plan("create", Does::Dies);
        world.fakes.lock().cgroups_stay = 3;
        assert!(world.create("c1", "").await.is_err());
        assert!(world.deps.taken.contains("c1"));
        pass(60.0).await;
        assert!(!world.deps.taken.contains("c1"));
        assert_eq!(world.fakes.trace(&["remove"]).len(), 4);
    });
}

#[test]
fn what_can_never_be_cleared_away_gives_the_id_back_in_the_end() {
    story(async {
        let world = World::new();
        world.fakes.plan("create", Does::Dies);
        world.fakes.lock().cgroups_stay = usize::MAX;
        assert!(world.create("c1", "").await.is_err());
        pass(3600.0).await;
        assert!(!world.deps.taken.contains("c1"));
    });
}

#[test]
fn a_runtime_that_has_created_nothing_and_says_yes_fails_create() {
    story(async {
        let world = World::new();
        world.fakes.plan("create", Does::Lies);
        let error = world.create("c1", "").await.err().unwrap();
        assert_says(told_of(error), "init.pid: No such file or directory");
        assert_eq!(world.calls("c1"), ["create", "delete force"]);
    });
}

#[test]
fn a_runtime_that_names_a_stranger_makes_a_container_that_nobody_can_signal() {
    story(async {
        let world = World::new();
        world.fakes.plan("create", Does::NamesAStranger);
        let task = world.create("c1", "").await.unwrap();
        let gone = "NOT_FOUND: process already finished: not found";
        assert_eq!(answer(task.kill(KILL)).await, gone);
        assert!(world.signals().is_empty());
        assert_eq!(answer(task.delete()).await, "ok");
    });
}

#[test]
fn an_init_that_ends_before_start_is_told_and_cannot_be_started() {
    story(async {
        let world = World::new();
        let task = world.create("c1", "").await.unwrap();
        task.init_exits(1);
        moment().await;
        assert_eq!(world.events("c1"), ["create", "exit 1"]);
        let refused = "UNKNOWN: cannot start a stopped process";
        assert_eq!(answer(task.start()).await, refused);
        assert_eq!(answer(task.delete()).await, "ok");
    });
}

#[test]
fn an_init_that_ends_during_the_runtimes_start_is_told_after_the_start() {
    story(async {
        let world = World::new();
        let task = world.create("c1", "").await.unwrap();
        task.plan("start", Does::LosesInit(3 << 8));
        assert_eq!(answer(task.start()).await, "ok");
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 3"]);
    });
}

#[test]
fn a_start_that_the_runtime_refuses_can_be_tried_again() {
    story(async {
        let world = World::new();
        let task = world.create("c1", POST).await.unwrap();
        task.plan("start", Does::Fails("not this time"));
        let refused = "UNKNOWN: OCI runtime start failed: not this time";
        assert_eq!(answer(task.start()).await, refused);
        assert_eq!(task.status(), Status::CREATED);
        let start = task.start();
        moment().await;
        assert!(task.hook_ends("post", true));
        assert_eq!(answer(start).await, "ok");
        assert_eq!(world.events("c1"), ["create", "start"]);
    });
}

#[test]
fn a_start_that_the_runtime_refuses_can_be_followed_by_delete() {
    story(async {
        let world = World::new();
        let task = world.create("c1", "").await.unwrap();
        task.plan("start", Does::Dies);
        assert_says(
            answer(task.start()).await,
            "UNKNOWN: OCI runtime start failed",
        );
        assert_eq!(answer(task.delete()).await, "ok");
        let events = ["create", "exit 137", "delete 137"];
        assert_eq!(world.events("c1"), events);
    });
}

#[test]
fn a_start_whose_runtime_hangs_holds_up_neither_kill_nor_state() {
    story(async {
        let world = World::new();
        let task = world.create("c1", "").await.unwrap();
        task.plan("start", Does::Hangs);
        let start = task.start();
        pass(60.0).await;
        assert_eq!(task.status(), Status::CREATED);
        assert_eq!(answer(task.kill(KILL)).await, "ok");
        assert!(is_pending(&start));
        assert_eq!(world.signals(), ["signal 9 c1"]);
    });
}

#[test]
fn a_client_that_gives_start_up_cancels_nothing() {
    story(async {
        let world = World::new();
        let task = world.create("c1", POST).await.unwrap();
        // The handler of the RPC is dropped; what it waits for is not.
        let start = task.start();
        moment().await;
        drop(start);
        assert!(task.hook_is_running("post"));
        task.hook_ends("post", true);
        moment().await;
        assert_eq!(task.status(), Status::RUNNING);
        assert_eq!(world.events("c1"), ["create", "start"]);
    });
}

#[test]
fn the_runtimes_start_counts_against_the_clients_deadline() {
    story(async {
        let world = World::new();
        let task = world.create("c1", POST).await.unwrap();
        task.plan("start", Does::Takes(Duration::from_secs(7)));
        let start = task.start_within(Some(Duration::from_secs(20)));
        pass(17.0).await;
        assert!(task.hook_is_running("post"));
        pass(1.1).await;
        assert!(!task.hook_is_running("post"));
        assert_says(answer(start).await, "timed out after 11s");
    });
}

#[test]
fn two_containers_of_a_pod_live_side_by_side() {
    story(async {
        let world = World::new();
        let (one, two) = (
            world.create("c1", BOTH).await.unwrap(),
            world.create("c2", BOTH).await.unwrap(),
        );
        let (first, second) = (one.start(), two.start());
        moment().await;
        one.hook_ends("post", true);
        assert_eq!(answer(first).await, "ok");
        assert!(is_pending(&second));
        two.init_exits(4);
        assert_eq!(answer(second).await, "ok");
        assert_eq!(answer(one.kill(TERM)).await, "ok");
        assert!(one.hook_is_running("pre") && !two.hook_is_running("pre"));
        one.hook_ends("pre", true);
        moment().await;
        assert_eq!(
            world.events("c1"),
            ["create", "start", "exit 15"].map(|e| e.replace("15", "143"))
        );
        assert_eq!(world.events("c2"), ["create", "start", "exit 4"]);
        assert_eq!(one.results(), ["postStart Succeeded", "preStop Succeeded"]);
        assert_eq!(two.results(), ["postStart Aborted"]);
    });
}
