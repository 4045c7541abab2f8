//! Pause, Resume, Update and Checkpoint.

use std::time::Duration;

use containerd_shim_protos::api::Status;

use super::fakes::Does;
use super::world::*;

#[test]
fn pause_and_resume_are_told() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        assert_eq!(answer(task.pause()).await, "ok");
        assert_eq!(task.status(), Status::PAUSED);
        assert_eq!(
            answer(task.pause()).await,
            "UNKNOWN: cannot pause a paused container"
        );
        assert_eq!(answer(task.resume()).await, "ok");
        assert_eq!(
            answer(task.resume()).await,
            "UNKNOWN: cannot resume a running process"
        );
        assert_eq!(task.status(), Status::RUNNING);
        assert_eq!(world.events("c1"), ["create", "start", "paused", "resumed"]);
    });
}

#[test]
fn a_paused_container_runs_no_pre_stop() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        assert_eq!(answer(task.pause()).await, "ok");
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        assert!(world.fakes.trace(&["hook"]).is_empty());
        assert_eq!(task.results(), ["preStop Skipped"]);
        assert_eq!(world.signals(), ["signal 15 c1"]);
        assert_eq!(answer(task.resume()).await, "ok");
        moment().await;
        assert_eq!(world.events("c1").last().unwrap(), "exit 143");
    });
}

#[test]
fn a_pause_in_pre_stop_does_not_keep_the_signal_back() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        assert_eq!(answer(task.pause()).await, "ok");
        pass(28.1).await;
        assert_eq!(world.signals(), ["signal 15 c1"]);
        assert_eq!(task.results(), ["preStop TimedOut"]);
        // At the end of the grace period the runtime thaws it for SIGKILL.
        pass(2.1).await;
        assert_eq!(world.calls("c1")[2..4], ["pause", "kill 9"]);
        moment().await;
        assert_eq!(task.status(), Status::STOPPED);
        assert_eq!(world.events("c1")[2..], ["paused", "exit 143"]);
    });
}

#[test]
fn sigkill_of_a_paused_container_goes_through_the_runtime() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        assert_eq!(answer(task.pause()).await, "ok");
        assert_eq!(answer(task.kill(KILL)).await, "ok");
        moment().await;
        assert_eq!(world.calls("c1")[2..4], ["pause", "kill 9"]);
        assert_eq!(world.events("c1").last().unwrap(), "exit 137");
    });
}

#[test]
fn an_init_that_ends_while_it_is_paused_is_thawed_for_the_rest_of_it() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        assert_eq!(answer(task.pause()).await, "ok");
        task.init_exits(0);
        moment().await;
        assert_eq!(world.calls("c1").last().unwrap(), "resume");
        assert!(!world.fakes.is_frozen("c1"));
        assert_eq!(world.events("c1")[2..], ["paused", "exit 0"]);
    });
}

#[test]
fn an_init_that_ends_during_pause_is_thawed_and_pause_says_that_it_has_stopped() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.plan("pause", Does::Takes(Duration::from_secs(1)));
        let pause = task.pause();
        moment().await;
        assert_eq!(task.status(), Status::PAUSING);
        task.init_exits(0);
        assert_eq!(
            answer(pause).await,
            "UNKNOWN: cannot pause a stopped container"
        );
        assert!(!world.fakes.is_frozen("c1"));
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 0"]);
    });
}

#[test]
fn a_pause_that_fails_leaves_the_container_running() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.plan("pause", Does::Fails("unable to freeze"));
        assert_eq!(
            answer(task.pause()).await,
            "UNKNOWN: OCI runtime pause failed: unable to freeze"
        );
        assert_eq!(task.status(), Status::RUNNING);
        assert_eq!(answer(task.pause()).await, "ok");
        task.plan("resume", Does::Fails("unable to thaw"));
        assert_eq!(
            answer(task.resume()).await,
            "UNKNOWN: OCI runtime resume failed: unable to thaw"
        );
        assert_eq!(task.status(), Status::PAUSED);
        assert_eq!(world.events("c1"), ["create", "start", "paused"]);
    });
}

#[test]
fn limits_are_changed_while_it_runs_and_not_after() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        assert_eq!(answer(task.update()).await, "ok");
        assert_eq!(world.calls("c1").last().unwrap(), "update {}");
        task.init_exits(0);
        moment().await;
        assert_eq!(
            answer(task.update()).await,
            "UNKNOWN: cannot update a stopped container"
        );
    });
}

#[test]
fn a_checkpoint_that_ends_the_container_is_told_by_its_exit() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        assert_eq!(answer(task.checkpoint()).await, "ok");
        task.plan("checkpoint", Does::Fails("criu failed\nand more"));
        let told = answer(task.checkpoint()).await;
        assert_says(
            &told,
            "UNKNOWN: OCI runtime checkpoint failed: criu failed path= ",
        );
        assert_says(&told, "/criu-dump.log");
        task.init_exits(0);
        moment().await;
        assert_eq!(
            answer(task.checkpoint()).await,
            "UNKNOWN: cannot checkpoint a stopped container"
        );
    });
}
