//! A container that has cgroups of its own, as systemd in a container makes them: its processes are in a
//! child, and controllers are handed down. From then on the container's own cgroup takes no process (EBUSY).

use std::fs;
use std::path::PathBuf;

use podhook_integration::node::PodContainer;
use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::json;

use crate::cgroup;
use crate::recorded::Recorded;
use crate::script::{Error, exec, server, words};

pub fn tests() -> Vec<Test> {
    tests![delegated:
        execs_and_hooks_find_a_place_in_a_container_that_moved_down,
    ]
}

/// Moves the container's processes to `init.scope` and hands the memory controller down, as its own systemd
/// would from inside. Gives the container's cgroup.
fn move_down(node: &Node, container: &PodContainer<'_>) -> Result<PathBuf, Error> {
    let own = cgroup::of(cgroup::pid(node, container)?)?;
    let child = own.join("init.scope");
    fs::create_dir(&child)?;
    // Until none is left: one that is not moved yet may start another.
    wait::until_true("an empty cgroup", SOON, || {
        let left = cgroup::read(&own, "cgroup.procs").unwrap_or_default();
        for pid in left.lines() {
            // It may have ended.
            let _ = fs::write(child.join("cgroup.procs"), pid);
        }
        left.is_empty()
    })?;
    fs::write(own.join("cgroup.subtree_control"), "+memory +pids")?;
    Ok(own)
}

fn execs_and_hooks_find_a_place_in_a_container_that_moved_down(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let leave = "grep ^0: /proc/self/cgroup; (setsid sleep 5571 &); head -c 9000000 /dev/zero | tail -c 8000000 | wc -c";
    let lifecycle = json!({"preStop": exec(leave)}).to_string();
    let pod = node.pod("systemd").lifecycle("main", &lifecycle).run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&server(&["TERM"], &[])))
        .start()?;
    trace.wait("ready")?;
    let own = move_down(node, &container)?;
    let place = container.exec(&["cat", "/proc/self/cgroup"])?;
    // In its own cgroup namespace.
    assert_eq!(place, "0::/init.scope\n");

    let ctr = node.containerd().ctr_in("k8s.io");
    ctr.run(&["task", "kill", "-s", "SIGTERM", container.id()])?;
    trace.wait("got-TERM")?;
    let hook = container.wait_hook("preStop")?.hook("preStop")?;
    assert_eq!(hook.text("/result"), "Succeeded", "{hook:?}");
    let output = hook.text("/output");
    // Its limits are the container's, at the root of what it sees.
    assert_eq!(output, "0::/\n8000000\n");
    // What it left stays in its cgroup: the container's own takes no processes.
    let daemon = cgroup::wait_process(&own, "sleep 5571")?;
    assert_eq!(cgroup::leaves(&own), [cgroup::of(daemon)?]);
    let memory = container.stats()?.memory.unwrap_or_default();
    assert!(memory.working_set_bytes.unwrap_or_default().value > 0);
    container.stop(0)?;
    assert_eq!(container.wait_exit(SOON)?.exit_code, 137);
    Ok(())
}
