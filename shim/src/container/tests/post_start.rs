//! postStart: until it has succeeded, a container does not run as clients see it.

use std::time::Duration;

use containerd_shim_protos::api::Status;

use super::world::*;

/// A container whose postStart runs, and its Start.
async fn in_post_start(world: &World, lifecycle: &str) -> (Task, Rpc<u32>) {
    let task = world.create("c1", lifecycle).await.unwrap();
    let start = task.start();
    moment().await;
    assert!(task.hook_is_running("post"));
    (task, start)
}

#[test]
fn a_container_is_created_until_its_post_start_has_succeeded() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, POST).await;
        assert_eq!(task.status(), Status::CREATED);
        assert_eq!(task.phase(), "PostStart");
        assert_eq!(world.events("c1"), ["create"]);
        assert!(is_pending(&start));
        task.hook_ends("post", true);
        assert_eq!(answer(start).await, "ok");
        assert_eq!(task.status(), Status::RUNNING);
        assert_eq!(
            (task.phase(), task.results()),
            ("Running".to_owned(), vec!["postStart Succeeded".to_owned()])
        );
        assert_eq!(world.events("c1"), ["create", "start"]);
    });
}

#[test]
fn a_failed_post_start_ends_the_container_and_fails_start_with_its_output() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, POST).await;
        task.hook_ends("post", false);
        let told = answer(start).await;
        assert_says(
            &told,
            "UNKNOWN: FailedPostStartHook: exec [\"post\"]: exited with status 3: it printed this",
        );
        assert_eq!(world.signals(), ["signal 15 c1"]);
        assert_eq!(world.events("c1"), ["create", "exit 143"], "it never ran");
        assert_eq!(task.results(), ["postStart Failed"]);
        assert_eq!(task.phase(), "Stopped");
    });
}

#[test]
fn a_failed_post_start_runs_pre_stop_first() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, BOTH).await;
        task.hook_ends("post", false);
        moment().await;
        assert!(task.hook_is_running("pre"));
        assert!(world.signals().is_empty() && is_pending(&start));
        task.hook_ends("pre", true);
        assert_says(answer(start).await, "FailedPostStartHook");
        world.assert_order("hook c1 pre ends", "signal 15 c1");
        assert_eq!(task.results(), ["postStart Failed", "preStop Succeeded"]);
    });
}

#[test]
fn start_fails_only_after_the_exit_is_told() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, POST).await;
        world.fakes.ignore(task.init(), &[TERM]);
        task.hook_ends("post", false);
        pass(10.0).await;
        assert!(is_pending(&start));
        task.init_exits(0);
        assert_says(answer(start).await, "FailedPostStartHook");
        assert_eq!(world.events("c1"), ["create", "exit 0"]);
    });
}

#[test]
fn a_post_start_that_has_ended_in_time_does_not_time_out_for_a_late_result() {
    story(async {
        for (takes, result) in [(0.9, "postStart Succeeded"), (1.5, "postStart TimedOut")] {
            let world = World::new();
            world.fakes.lock().results_take = Some(Duration::from_secs_f64(takes));
            let (task, start) = in_post_start(&world, POST).await;
            pass(109.8).await;
            task.hook_ends("post", true);
            let told = answer(start).await;
            pass(2.0).await;
            assert_eq!(
                (told == "ok", task.results()),
                (takes < 1.0, vec![result.to_owned()])
            );
        }
    });
}

#[test]
fn a_failed_post_start_is_killed_after_the_grace_period() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, POST).await;
        world.fakes.ignore(task.init(), &[TERM]);
        task.hook_ends("post", false);
        assert_says(answer(start).await, "FailedPostStartHook");
        assert_eq!(world.signals(), ["signal 15 c1", "signal 9 c1"]);
        assert_eq!(world.events("c1"), ["create", "exit 137"]);
    });
}

#[test]
fn start_is_answered_though_init_does_not_die() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, POST).await;
        world.fakes.ignore(task.init(), &[TERM, KILL]);
        task.hook_ends("post", false);
        assert_says(answer(start).await, "FailedPostStartHook");
        assert_eq!(world.events("c1"), ["create"], "it has not ended");
        task.init_exits(1);
        moment().await;
        assert_eq!(world.events("c1"), ["create", "exit 1"]);
    });
}

#[test]
fn a_failure_that_is_ignored_is_no_failure() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, POST_IGNORED).await;
        task.hook_ends("post", false);
        assert_eq!(answer(start).await, "ok");
        assert_eq!(task.status(), Status::RUNNING);
        assert_eq!(task.results(), ["postStart Failed"]);
        assert_eq!(world.events("c1"), ["create", "start"]);
        assert!(world.signals().is_empty());
    });
}

#[test]
fn a_post_start_that_takes_too_long_is_ended_and_named() {
    story(async {
        let world = World::new();
        let lifecycle = r#"{"postStart": {"exec": {"command": ["post"]}, "timeoutSeconds": 5}}"#;
        let (task, start) = in_post_start(&world, lifecycle).await;
        let told = answer(start).await;
        assert_says(
            &told,
            "exec [\"post\"]: timed out after 5s (timeoutSeconds)",
        );
        assert_eq!(task.results(), ["postStart TimedOut"]);
        assert_eq!(world.events("c1"), ["create", "exit 143"]);
    });
}

#[test]
fn the_node_limits_a_post_start_without_a_timeout() {
    story(async {
        let world = World::configured("post_start_timeout = 7\n");
        let (task, start) = in_post_start(&world, POST).await;
        assert_says(
            answer(start).await,
            "timed out after 7s (post_start_timeout of ",
        );
        assert_eq!(task.results(), ["postStart TimedOut"]);
    });
}

#[test]
fn a_post_start_that_takes_too_long_and_is_ignored_lets_the_container_run() {
    story(async {
        let world = World::new();
        let lifecycle = r#"{"postStart": {"exec": {"command": ["post"]}, "timeoutSeconds": 5, "onFailure": "Ignore"}}"#;
        let (task, start) = in_post_start(&world, lifecycle).await;
        assert_eq!(answer(start).await, "ok");
        assert_eq!(task.results(), ["postStart TimedOut"]);
        assert_eq!(task.status(), Status::RUNNING);
    });
}

#[test]
fn a_start_without_time_for_the_hook_fails_without_running_it() {
    story(async {
        let world = World::new();
        let task = world.create("c1", POST).await.unwrap();
        let start = task.start_within(Some(Duration::from_secs(1)));
        assert_says(answer(start).await, "FailedPostStartHook");
        assert!(world.fakes.trace(&["hook"]).is_empty());
        assert_eq!(task.results(), ["postStart Skipped"]);
        assert_eq!(world.events("c1"), ["create", "exit 137"]);
    });
}

#[test]
fn a_stop_signal_during_post_start_aborts_it_and_fails_start() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, POST).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        assert_says(answer(start).await, "exec [\"post\"]: aborted by SIGTERM");
        assert_eq!(task.results(), ["postStart Aborted"]);
        assert_eq!(world.events("c1"), ["create", "exit 143"]);
    });
}

#[test]
fn a_stop_signal_during_post_start_runs_pre_stop() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, BOTH).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        assert!(task.hook_is_running("pre") && world.signals().is_empty());
        task.hook_ends("pre", true);
        assert_says(answer(start).await, "aborted by SIGTERM");
        assert_eq!(task.results(), ["postStart Aborted", "preStop Succeeded"]);
    });
}

#[test]
fn sigkill_during_post_start_is_a_short_life_and_no_failed_start() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, BOTH).await;
        assert_eq!(answer(task.kill(KILL)).await, "ok");
        assert_eq!(answer(start).await, "ok");
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 137"]);
        assert_eq!(task.results(), ["postStart Aborted"]);
    });
}

#[test]
fn an_init_that_ends_during_post_start_is_a_short_life() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, POST).await;
        task.init_exits(0);
        assert_eq!(answer(start).await, "ok");
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 0"]);
        assert_eq!(task.results(), ["postStart Aborted"]);
        assert_eq!(task.message(0), "aborted: the container's process ended");
    });
}

#[test]
fn a_hook_that_dies_with_its_container_has_not_failed() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, POST).await;
        world.fakes.begin_end(task.init());
        task.hook_ends("post", false);
        pass(2.0).await;
        assert!(is_pending(&start));
        task.init_exits(0);
        assert_eq!(answer(start).await, "ok");
        assert_eq!(task.results(), ["postStart Aborted"]);
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 0"]);
    });
}

#[test]
fn a_hook_that_fails_while_init_hangs_on_its_way_out_has_failed_in_the_end() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, POST).await;
        world.fakes.begin_end(task.init());
        task.hook_ends("post", false);
        assert_says(answer(start).await, "exited with status 3");
        assert_eq!(task.results(), ["postStart Failed"]);
    });
}

#[test]
fn an_abort_whose_output_comes_late_has_it_in_the_error_of_start() {
    story(async {
        let world = World::new();
        world.fakes.lock().hooks_die_after = Some(Duration::from_millis(700));
        world.fakes.lock().hook_output = "last words";
        let (task, start) = in_post_start(&world, POST).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        assert_says(answer(start).await, "aborted by SIGTERM: last words");
        let record = task.record();
        assert_eq!(record["hooks"][0]["output"], "last words");
    });
}

#[test]
fn an_abort_whose_output_comes_too_late_is_not_waited_for_and_recorded_later() {
    story(async {
        let world = World::new();
        world.fakes.lock().hooks_die_after = Some(Duration::from_secs(60));
        world.fakes.lock().hook_output = "last words";
        let (task, start) = in_post_start(&world, POST).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        let told = answer(start).await;
        assert!(told.ends_with("aborted by SIGTERM"), "{told}");
        assert_eq!(task.results(), ["postStart Aborted"]);
        assert_eq!(task.record()["hooks"][0]["output"], serde_json::Value::Null);
        pass(61.0).await;
        assert_eq!(task.record()["hooks"][0]["output"], "last words");
    });
}

#[test]
fn a_hook_that_never_dies_holds_up_neither_exit_nor_start() {
    story(async {
        let world = World::new();
        world.fakes.lock().hooks_die_after = None;
        let (task, start) = in_post_start(&world, POST).await;
        task.init_exits(0);
        assert_eq!(answer(start).await, "ok");
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 0"]);
        assert_eq!(task.results(), ["postStart Aborted"]);
        assert_eq!(answer(task.delete()).await, "ok");
    });
}

#[test]
fn the_record_does_not_say_stopped_before_it_has_the_result_of_the_hook() {
    story(async {
        let world = World::new();
        world.fakes.lock().hooks_die_after = Some(Duration::from_millis(500));
        let (task, start) = in_post_start(&world, POST).await;
        task.init_exits(0);
        pass(0.3).await;
        assert_eq!(task.phase(), "PostStart");
        assert!(is_pending(&start));
        assert_eq!(world.events("c1"), ["create"]);
        assert_eq!(answer(start).await, "ok");
        assert_eq!(
            (task.phase().as_str(), task.results()),
            ("Stopped", vec!["postStart Aborted".to_owned()])
        );
    });
}

#[test]
fn delete_and_pause_are_refused_during_post_start() {
    story(async {
        let world = World::new();
        let (task, start) = in_post_start(&world, POST).await;
        assert_eq!(
            answer(task.delete()).await,
            "UNKNOWN: cannot delete a running process"
        );
        assert_eq!(
            answer(task.pause()).await,
            "UNKNOWN: cannot pause task in created state"
        );
        assert_eq!(world.calls("c1"), ["create", "start"]);
        task.hook_ends("post", true);
        assert_eq!(answer(start).await, "ok");
    });
}
