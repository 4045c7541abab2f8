//! The end of init, and the order in which it is told.

use std::time::Duration;

use super::fakes::Does;
use super::world::*;

#[test]
fn an_init_that_ends_during_pre_stop_ends_the_hook() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        task.init_exits(0);
        moment().await;
        assert!(!task.hook_is_running("pre"));
        assert_eq!(task.results(), ["preStop Aborted"]);
        assert!(world.signals().is_empty());
        assert_eq!(world.events("c1"), ["create", "start", "exit 0"]);
    });
}

#[test]
fn a_container_that_ends_by_itself_runs_no_pre_stop() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        task.init_exits(9);
        moment().await;
        assert!(world.fakes.trace(&["hook"]).is_empty());
        assert_eq!(task.phase(), "Stopped");
        assert!(task.results().is_empty());
    });
}

#[test]
fn an_oom_kill_is_told_before_the_exit_that_it_caused() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        world.fakes.lock().oom_killed = true;
        world.fakes.end(task.init(), KILL);
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "oom", "exit 137"]);
    });
}

#[test]
fn an_oom_kill_that_init_survives_is_told_when_it_happens() {
    story(async {
        let world = World::new();
        let _task = world.running("c1", "").await;
        let listener = world.fakes.lock().oom.clone().unwrap();
        listener.upgrade().unwrap().oom_killed();
        assert_eq!(world.events("c1"), ["create", "start", "oom"]);
    });
}

#[test]
fn the_exits_of_execs_come_before_that_of_init() {
    story(async {
        let world = World::new();
        world.fakes.lock().execs_outlive_init = true;
        let task = world.running("c1", "").await;
        task.exec("e").unwrap();
        assert_eq!(answer(task.start_exec("e")).await, "ok");
        task.init_exits(0);
        pass(3.0).await;
        assert_eq!(world.events("c1")[4..], [] as [&str; 0]);
        task.exec_exits("e", 5);
        moment().await;
        assert_eq!(world.events("c1")[4..], ["exit/e 5", "exit 0"]);
    });
}

#[test]
fn an_exec_that_does_not_end_with_its_container_is_not_waited_for_for_ever() {
    story(async {
        let world = World::new();
        world.fakes.lock().execs_outlive_init = true;
        let task = world.running("c1", "").await;
        task.exec("e").unwrap();
        assert_eq!(answer(task.start_exec("e")).await, "ok");
        task.init_exits(0);
        pass(11.0).await;
        assert_eq!(world.events("c1").last().unwrap(), "exit 0");
    });
}

#[test]
fn what_is_left_of_a_shared_pid_namespace_is_killed_with_init() {
    story(async {
        let world = World::new();
        world.fakes.lock().execs_outlive_init = true;
        let task = world.running_in_a_shared_pid_namespace("c1").await;
        task.exec("e").unwrap();
        assert_eq!(answer(task.start_exec("e")).await, "ok");
        task.init_exits(0);
        moment().await;
        assert_eq!(world.calls("c1").last().unwrap(), "kill-all 9");
        assert_eq!(world.events("c1")[4..], ["exit/e 137", "exit 0"]);
    });
}

#[test]
fn nothing_is_killed_where_nothing_is_left_of_a_shared_pid_namespace() {
    story(async {
        let world = World::new();
        let task = world.running_in_a_shared_pid_namespace("c1").await;
        task.init_exits(0);
        moment().await;
        assert_eq!(world.calls("c1"), ["create", "start"]);
        assert_eq!(world.events("c1").last().unwrap(), "exit 0");
    });
}

#[test]
fn a_runtime_that_hangs_in_start_does_not_hide_the_end_of_init_for_ever_once_it_fails() {
    story(async {
        let world = World::new();
        let task = world.create("c1", "").await.unwrap();
        task.plan("start", Does::Takes(Duration::from_secs(3)));
        let start = task.start();
        moment().await;
        task.init_exits(2);
        pass(1.0).await;
        assert_eq!(world.events("c1"), ["create"]);
        assert_eq!(answer(start).await, "ok");
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 2"]);
    });
}

#[test]
fn everybody_who_waits_is_told_the_same_exit_and_late_comers_too() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        let waits = [task.wait(""), task.wait("")];
        moment().await;
        task.init_exits(6);
        for wait in waits {
            assert_eq!(wait.await.unwrap().unwrap(), 6);
        }
        assert_eq!(task.wait("").await.unwrap().unwrap(), 6);
    });
}

#[test]
fn a_record_that_could_not_be_written_is_written_when_there_is_room() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        // As on a full disk.
        let in_the_way = task.container.bundle.join(".podhook.json.new");
        std::fs::create_dir(&in_the_way).unwrap();
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        task.hook_ends("pre", false);
        moment().await;
        assert_eq!(world.events("c1").last().unwrap(), "exit 143");
        assert_eq!(task.phase(), "Running");
        pass(40.0).await;
        assert_eq!(task.phase(), "Running");
        std::fs::remove_dir(&in_the_way).unwrap();
        pass(31.0).await;
        assert_eq!(task.phase(), "Stopped");
        assert_eq!(task.results(), ["preStop Failed"]);
    });
}
