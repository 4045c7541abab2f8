//! Kill in every phase, and the kill sequence.

use std::time::{Duration, SystemTime};

use podhook_hooks::record::Timestamp;

use super::fakes::Does;
use super::world::*;

#[test]
fn before_start_every_signal_is_passed_on() {
    story(async {
        let world = World::new();
        let task = world.create("c1", BOTH).await.unwrap();
        world.fakes.ignore(task.init(), &[TERM]);
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        assert_eq!(answer(task.kill(KILL)).await, "ok");
        moment().await;
        assert_eq!(world.signals(), ["signal 15 c1", "signal 9 c1"]);
        assert_eq!(world.events("c1"), ["create", "exit 137"]);
        assert!(world.fakes.trace(&["hook"]).is_empty());
    });
}

#[test]
fn without_a_lifecycle_a_stop_signal_is_passed_on_at_once() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 143"]);
    });
}

#[test]
fn a_stop_signal_returns_at_once_and_goes_out_after_pre_stop() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        assert!(task.hook_is_running("pre"));
        assert_eq!(task.phase(), "PreStop");
        assert!(world.signals().is_empty());
        task.hook_ends("pre", true);
        moment().await;
        assert_eq!(world.signals(), ["signal 15 c1"]);
        assert_eq!(task.results(), ["preStop Succeeded"]);
        assert_eq!(task.record()["termination"]["exitStatus"], 143);
        assert_eq!(task.phase(), "Stopped");
    });
}

#[test]
fn further_stop_signals_change_nothing() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        for _ in 0..3 {
            assert_eq!(answer(task.kill(TERM)).await, "ok");
        }
        moment().await;
        assert_eq!(world.fakes.trace(&["hook"]), ["hook c1 pre runs"]);
        task.hook_ends("pre", true);
        moment().await;
        assert_eq!(world.signals(), ["signal 15 c1"]);
    });
}

#[test]
fn a_pre_stop_that_fails_is_recorded_and_the_signal_goes_out() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        task.hook_ends("pre", false);
        moment().await;
        assert_eq!(world.signals(), ["signal 15 c1"]);
        assert_eq!(task.results(), ["preStop Failed"]);
    });
}

#[test]
fn a_pre_stop_that_hangs_is_ended_before_the_grace_period_is_over() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        pass(27.9).await;
        assert!(world.signals().is_empty());
        pass(0.2).await;
        assert_eq!(world.signals(), ["signal 15 c1"]);
        assert_eq!(task.results(), ["preStop TimedOut"]);
    });
}

#[test]
fn the_signal_does_not_wait_for_a_pre_stop_that_does_not_die() {
    story(async {
        let world = World::new();
        world.fakes.lock().hooks_die_after = None;
        let task = world.running("c1", PRE).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        pass(28.1).await;
        assert_eq!(world.signals(), ["signal 15 c1"]);
        pass(2.0).await;
        assert_eq!(task.results(), ["preStop TimedOut"]);
        assert_eq!(world.events("c1"), ["create", "start", "exit 143"]);
    });
}

/// The wall clock all but stands still in these stories, as one that is set back time and again.
#[test]
fn what_the_record_says_of_times_is_not_measured_with_the_wall_clock() {
    story(async {
        for dies_after in [Some(Duration::ZERO), None] {
            let world = World::new();
            world.fakes.lock().hooks_die_after = dies_after;
            let task = world.running("c1", PRE).await;
            assert_eq!(answer(task.kill(TERM)).await, "ok");
            pass(30.5).await;
            assert_eq!(task.results(), ["preStop TimedOut"]);
            let record = task.record();
            let time = |path: &str| {
                let time = record.pointer(path).unwrap().clone();
                SystemTime::from(serde_json::from_value::<Timestamp>(time).unwrap())
            };
            let between = |from: &str, to: &str| time(to).duration_since(time(from)).unwrap();
            let window = Duration::from_millis(27_900);
            assert!(record["hooks"][0]["durationMs"].as_f64().unwrap() > 27_900.0);
            assert!(between("/hooks/0/startedAt", "/hooks/0/finishedAt") > window);
            assert!(between("/termination/requestedAt", "/termination/signalledAt") > window);
        }
    });
}

#[test]
fn sigkill_follows_at_the_end_of_the_grace_period() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        world.fakes.ignore(task.init(), &[TERM]);
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        task.hook_ends("pre", true);
        pass(29.9).await;
        assert_eq!(world.signals(), ["signal 15 c1"]);
        pass(0.2).await;
        assert_eq!(world.signals(), ["signal 15 c1", "signal 9 c1"]);
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 137"]);
        assert!(task.record()["termination"]["killedAt"].is_string());
    });
}

#[test]
fn for_cri_the_client_owns_sigkill() {
    story(async {
        let world = World::new();
        let task = world.create_cri("c1", PRE).await.unwrap();
        assert_eq!(answer(task.start()).await, "ok");
        world.fakes.ignore(task.init(), &[TERM]);
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        task.hook_ends("pre", true);
        pass(600.0).await;
        assert_eq!(world.signals(), ["signal 15 c1"]);
        assert_eq!(answer(task.kill(KILL)).await, "ok");
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 137"]);
    });
}

#[test]
fn sigkill_during_pre_stop_kills_at_once() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        assert_eq!(answer(task.kill(KILL)).await, "ok");
        moment().await;
        assert_eq!(world.signals(), ["signal 9 c1"]);
        assert_eq!(task.results(), ["preStop Aborted"]);
        assert_eq!(world.events("c1"), ["create", "start", "exit 137"]);
    });
}

#[test]
fn sigkill_never_runs_pre_stop() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        assert_eq!(answer(task.kill(KILL)).await, "ok");
        moment().await;
        assert!(world.fakes.trace(&["hook"]).is_empty());
        assert_eq!(world.events("c1"), ["create", "start", "exit 137"]);
    });
}

#[test]
fn sigkill_after_the_stop_signal_is_passed_on() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        world.fakes.ignore(task.init(), &[TERM]);
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        task.hook_ends("pre", true);
        moment().await;
        assert_eq!(task.phase(), "Signalled");
        assert_eq!(answer(task.kill(KILL)).await, "ok");
        moment().await;
        assert_eq!(world.signals(), ["signal 15 c1", "signal 9 c1"]);
    });
}

#[test]
fn kill_of_what_has_ended_is_not_found() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        task.init_exits(0);
        moment().await;
        let gone = "NOT_FOUND: process already finished: not found";
        for signal in [0, TERM, KILL] {
            assert_eq!(answer(task.kill(signal)).await, gone);
        }
        assert_eq!(world.calls("c1"), ["create", "start"]);
    });
}

#[test]
fn kill_of_all_goes_through_the_runtime() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        assert_eq!(answer(task.kill_all(TERM)).await, "ok");
        assert_eq!(world.calls("c1"), ["create", "start", "kill-all 15"]);
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 143"]);
    });
}

#[test]
fn sigkill_of_all_is_that_of_init_where_the_kernel_kills_the_others() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        assert_eq!(answer(task.kill_all(KILL)).await, "ok");
        assert_eq!(world.calls("c1"), ["create", "start"]);
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 137"]);
        let shared = world.running_in_a_shared_pid_namespace("c2").await;
        assert_eq!(answer(shared.kill_all(KILL)).await, "ok");
        assert_eq!(world.calls("c2"), ["create", "start", "kill-all 9"]);
        let world = World::configured("runtime_calls = \"program\"\n");
        let task = world.running("c1", "").await;
        assert_eq!(answer(task.kill_all(KILL)).await, "ok");
        assert_eq!(world.calls("c1"), ["create", "start", "kill-all 9"]);
    });
}

#[test]
fn what_has_outlived_init_is_killed_by_the_runtime_and_nothing_where_nothing_has() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        task.init_exits(0);
        moment().await;
        for signal in [TERM, KILL] {
            assert_eq!(answer(task.kill_all(signal)).await, "ok");
        }
        assert_eq!(world.calls("c1"), ["create", "start"]);
        world.fakes.lock().execs_outlive_init = true;
        let task = world.running("c2", "").await;
        task.exec("e").unwrap();
        assert_eq!(answer(task.start_exec("e")).await, "ok");
        task.init_exits(0);
        // So long the end of init waits for that of its execs.
        pass(11.0).await;
        // The answer is the runtime's.
        drop(task.kill_all(KILL).await);
        assert_eq!(world.calls("c2").last().unwrap(), "kill-all 9");
    });
}

#[test]
fn what_the_runtime_says_of_a_kill_is_not_found_where_it_is_so() {
    story(async {
        let world = World::new();
        let task = world.running("c1", "").await;
        let table = [
            (
                "process already finished",
                "NOT_FOUND: process already finished: not found",
            ),
            (
                "container not running",
                "NOT_FOUND: process already finished: not found",
            ),
            (
                "container does not exist",
                "NOT_FOUND: no such container: not found",
            ),
            (
                "out of memory",
                "UNKNOWN: OCI runtime kill-all failed: out of memory",
            ),
        ];
        for (words, told) in table {
            task.plan("kill-all", Does::Fails(words));
            assert_eq!(answer(task.kill_all(TERM)).await, told);
        }
    });
}

#[test]
fn a_signal_that_is_none_is_an_invalid_argument() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        let told = "INVALID_ARGUMENT: invalid signal 65: invalid argument";
        assert_eq!(answer(task.kill(65)).await, told);
        assert_eq!(answer(task.kill(0)).await, "ok");
        assert!(world.fakes.trace(&["hook"]).is_empty());
    });
}

#[test]
fn a_signal_that_stops_nothing_is_passed_on_and_named_where_the_container_ends_by_it() {
    story(async {
        let world = World::new();
        let task = world.running("c1", PRE).await;
        assert_eq!(answer(task.kill(libc::SIGUSR1)).await, "ok");
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 138"]);
        assert_eq!(task.results(), ["preStop Skipped"]);
        assert_says(
            task.message(0),
            "SIGUSR1, which is none of its stop signals",
        );
    });
}

#[test]
fn a_grace_period_of_0_is_sigkill_at_once() {
    story(async {
        let world = World::new();
        let lifecycle =
            r#"{"preStop": {"exec": {"command": ["pre"]}}, "terminationGracePeriodSeconds": 0}"#;
        let task = world.running("c1", lifecycle).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        assert_eq!(world.signals(), ["signal 9 c1"]);
        assert_eq!(task.results(), ["preStop Skipped"]);
        assert_eq!(world.events("c1"), ["create", "start", "exit 137"]);
    });
}

#[test]
fn the_lifecycles_own_stop_signal_goes_out_instead() {
    story(async {
        let world = World::new();
        let lifecycle = r#"{"preStop": {"exec": {"command": ["pre"]}}, "stopSignal": "SIGQUIT"}"#;
        let task = world.running("c1", lifecycle).await;
        assert_eq!(answer(task.kill(TERM)).await, "ok");
        moment().await;
        task.hook_ends("pre", true);
        moment().await;
        assert_eq!(world.signals(), ["signal 3 c1"]);
        assert_eq!(task.record()["termination"]["signal"], "SIGQUIT");
    });
}
