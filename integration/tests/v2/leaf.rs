//! A hook's own cgroup below the container's.

use std::fs;
use std::path::Path;
use std::process::Command;

use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::json;

use crate::cgroup;
use crate::recorded::Recorded;
use crate::script::{exec, held, polite, server, with, words};

pub fn tests() -> Vec<Test> {
    tests![leaf:
        a_hook_is_in_a_cgroup_below_the_containers_and_takes_it_along,
        a_hook_is_born_in_its_cgroup,
        what_a_successful_hook_leaves_moves_to_the_containers_cgroup,
        what_a_pods_hook_leaves_keeps_its_cgroup,
        a_hook_that_times_out_is_killed_with_what_left_its_session,
        a_hook_finds_the_limits_that_an_exec_finds,
        a_container_that_forbids_cgroups_gives_up_whole_tree_control_and_it_is_told,
    ]
}

fn a_hook_is_in_a_cgroup_below_the_containers_and_takes_it_along(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?});
    let container = node
        .container("leaf")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    let own = cgroup::of_container(&container)?;
    assert!(cgroup::leaves(&own).is_empty());
    container.kill("SIGTERM")?;
    trace.wait("hook-begin")?;
    let leaves = cgroup::leaves(&own);
    let [leaf] = &leaves[..] else {
        return Err(format!("not one: {leaves:?}").into());
    };
    assert_eq!(cgroup::read(leaf, "cgroup.procs")?.lines().count(), 1);
    // No controller of its own: what it uses is the container's.
    assert_eq!(cgroup::read(leaf, "cgroup.controllers")?, "");
    assert!(leaf.join("cgroup.kill").exists());
    trace.release("hook")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    wait::until_true("the end of the leaf", SOON, || !leaf.exists())?;
    Ok(())
}

/// Says of each process that is moved from one cgroup to another who and where to.
const MOVES: &str = "/sys/kernel/tracing/events/cgroup/cgroup_attach_task/enable";

fn a_hook_is_born_in_its_cgroup(node: &Node) -> Outcome {
    fs::write(MOVES, "1").map_err(|e| format!("write {MOVES}: {e}"))?;
    let lifecycle = json!({"postStart": exec("grep ^0: /proc/self/cgroup")}).to_string();
    let container = node
        .container("born")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let hook = container.recorded()?.hook("postStart")?;
    let output = hook.text("/output");
    assert!(output.contains("/podhook-"), "{output}");
    // The trace works: it says of a move that the test makes. (A runtime may have init born in its cgroup.)
    let own = cgroup::of_container(&container)?;
    let mut moved = Command::new("sleep").arg("600").spawn()?;
    let written = fs::write(own.join("cgroup.procs"), moved.id().to_string());
    moved.kill()?;
    moved.wait()?;
    written?;
    let moves = fs::read_to_string("/sys/kernel/tracing/trace")?;
    let of_container = |line: &&str| line.contains(container.id());
    let moves: Vec<_> = moves.lines().filter(of_container).collect();
    let pid = format!("pid={} ", moved.id());
    assert!(moves.iter().any(|line| line.contains(&pid)), "{moves:#?}");
    let of_hook: Vec<_> = moves
        .iter()
        .filter(|line| line.contains("/podhook-"))
        .collect();
    assert!(of_hook.is_empty(), "{of_hook:#?}");
    Ok(())
}

/// Leaves two daemons behind, of which one has left the session and is nobody's child.
const LEAVE: &str = "(setsid sleep 5551 &); sleep 5552 & echo done";

fn what_a_successful_hook_leaves_moves_to_the_containers_cgroup(node: &Node) -> Outcome {
    let lifecycle = json!({"postStart": exec(LEAVE)}).to_string();
    let container = node
        .container("left")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    // ctr gives it no cgroup namespace of its own: both see the host's paths.
    let own = cgroup::of_container(&container)?;
    for daemon in ["sleep 5551", "sleep 5552"] {
        let pid = cgroup::wait_process(&own, daemon)?;
        assert_eq!(cgroup::of(pid)?, own, "{daemon}");
    }
    cgroup::wait_no_leaves(&own)?;
    container.kill("SIGKILL")?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    wait::until_true("the end of all", SOON, || !populated(&own))?;
    Ok(())
}

fn what_a_pods_hook_leaves_keeps_its_cgroup(node: &Node) -> Outcome {
    let lifecycle = json!({"postStart": exec(LEAVE)}).to_string();
    let pod = node.pod("left").lifecycle("main", &lifecycle).run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let own = cgroup::of(cgroup::pid(node, &container)?)?;
    // Its own cgroup namespace has that for its root: from any other cgroup it would see `/..`.
    let leaves = cgroup::leaves(&own);
    for daemon in ["sleep 5551", "sleep 5552"] {
        let pid = cgroup::wait_process(&own, daemon)?;
        assert_eq!(leaves, [cgroup::of(pid)?], "{daemon}");
    }
    container.stop(0)?;
    assert_eq!(container.wait_exit(SOON)?.exit_code, 137);
    wait::until_true("the end of the cgroup", SOON, || !own.exists())?;
    Ok(())
}

/// What old JVMs and Go programs do: the path in /proc/self/cgroup, below /sys/fs/cgroup.
const LIMITS: &str = "path=$(sed -n s/^0:://p /proc/self/cgroup); echo $path; cd /sys/fs/cgroup$path; cat memory.max pids.max cpu.max";

fn a_hook_finds_the_limits_that_an_exec_finds(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    // What the hook leaves running reads it as well, when the hook is over.
    let script = format!(
        "{LIMITS}; (setsid sh -c 'sleep 1; ({LIMITS}) > /trace/later; touch /trace/read' &)"
    );
    let lifecycle = json!({"postStart": exec(&script)}).to_string();
    let pod = node.pod("limits").lifecycle("main", &lifecycle).run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&["sleep", "600"])
        .config(|config| {
            let linux = config.linux.get_or_insert_default();
            let resources = linux.resources.get_or_insert_default();
            resources.memory_limit_in_bytes = 64 << 20;
            resources.cpu_quota = 50_000;
            resources.cpu_period = 100_000;
        })
        .start()?;
    let hook = container.recorded()?.hook("postStart")?;
    let of_exec = container.exec(&["sh", "-c", LIMITS])?;
    assert!(of_exec.starts_with("/\n67108864\n"), "{of_exec}");
    assert_eq!(hook.text("/output"), of_exec);
    let read = trace.dir().join("read");
    wait::until_true("the daemon to have read", SOON, || read.exists())?;
    assert_eq!(fs::read_to_string(trace.dir().join("later"))?, of_exec);
    Ok(())
}

fn a_container_that_forbids_cgroups_gives_up_whole_tree_control_and_it_is_told(
    node: &Node,
) -> Outcome {
    let trace = Trace::new(node)?;
    let stop = with(
        exec("(setsid sleep 5571 &); exec sleep 5572"),
        json!({"timeoutSeconds": 3}),
    );
    let container = node
        .container("full")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&json!({"preStop": stop}).to_string())
        .start(&words(&server(&["TERM"], &[])))?;
    trace.wait("ready")?;
    let own = cgroup::of_container(&container)?;
    fs::write(own.join("cgroup.max.descendants"), "0")?;
    container.kill("SIGTERM")?;
    trace.wait("got-TERM")?;
    let hook = container.wait_hook("preStop")?.hook("preStop")?;
    assert_eq!(hook.text("/result"), "TimedOut");
    let message = hook.text("/message");
    for part in [
        "without a cgroup of its own (",
        "cgroup.max.descendants",
        "what left its session was not killed",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let log = node.log();
    assert!(
        log.contains("what leaves its session cannot be killed"),
        "{log}"
    );
    container.kill("SIGKILL")?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    Ok(())
}

fn populated(cgroup: &Path) -> bool {
    cgroup::read(cgroup, "cgroup.events").is_ok_and(|text| text.contains("populated 1"))
}

fn a_hook_that_times_out_is_killed_with_what_left_its_session(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let daemon = "trap '' TERM INT HUP; touch /trace/daemon; while :; do sleep 5561; done";
    let script = format!(
        "(setsid sh -c \"{daemon}\" &); (setsid sh -c 'setsid sleep 5562 &' &); exec sleep 5563"
    );
    let hook = with(
        exec(&script),
        json!({"timeoutSeconds": 15, "onFailure": "Ignore"}),
    );
    let (container, starting) = node
        .container("daemons")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&json!({"postStart": hook}).to_string())
        .start_behind(&["sleep", "600"])?;
    let begun = wait::until_true("the daemon", SOON, || trace.dir().join("daemon").exists());
    let own = cgroup::of_container(&container);
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    begun?;
    let own = own?;
    assert_eq!(
        container.wait_hook("postStart")?.result("postStart"),
        "TimedOut"
    );
    cgroup::wait_no_leaves(&own)?;
    // Nothing escaped to the container's own cgroup either.
    let first = container.task()?.ok_or("no task")?.pid.to_string();
    Ok(wait::until_true("the first process alone", SOON, || {
        cgroup::read(&own, "cgroup.procs").is_ok_and(|procs| procs == first)
    })?)
}
