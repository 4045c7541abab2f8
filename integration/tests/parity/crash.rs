//! A shim that is killed: containerd calls `delete`, and nothing is left.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::containerd::remains;
use podhook_integration::suite::{Test, own_containerd, podhook_only};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};

pub fn tests() -> Vec<Test> {
    let mut all = tests![crash:
        a_task_whose_shim_is_killed_has_ended,
        a_paused_task_whose_shim_is_killed_has_ended,
    ];
    // The original of 2.x leaves the pod's other containers running (containerd#10727).
    all.extend(podhook_only(tests![crash:
        a_pod_whose_shim_is_killed_has_ended_with_all_its_containers,
        a_pod_whose_sandbox_ended_first_ends_with_its_shim,
    ]));
    all.extend(own_containerd(podhook_only(tests![crash:
        a_pod_whose_shim_panics_has_ended_and_the_log_says_so,
    ])));
    all
}

fn shim(node: &Node, id: &str) -> Result<remains::Shim, &'static str> {
    let shims = remains::shims(&node.containerd().address());
    let its = shims.into_iter().find(|shim| shim.id == id);
    its.ok_or("it has no shim")
}

fn kill_shim(node: &Node, id: &str) -> Outcome {
    let shim = shim(node, id)?;
    node.containerd().kill_shim(&shim, node.shim())?;
    Ok(())
}

fn gone(pid: i32) -> Outcome {
    // A process without a working directory is gone, or a zombie.
    Ok(wait::until_true("the processes to end", SOON, || {
        !Path::new(&format!("/proc/{pid}/cwd")).exists()
    })?)
}

fn a_task_whose_shim_is_killed_has_ended(node: &Node) -> Outcome {
    let container = node.container("orphan").start(&["sleep", "600"])?;
    let pid = container.task()?.ok_or("no task")?.pid;
    kill_shim(node, container.id())?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    gone(pid)?;
    wait::until_true("the task to be gone", SOON, || {
        container.status().is_ok_and(|status| status.is_empty())
    })?;
    Ok(())
}

fn a_paused_task_whose_shim_is_killed_has_ended(node: &Node) -> Outcome {
    let container = node.container("frozen").start(&["sleep", "600"])?;
    let pid = container.task()?.ok_or("no task")?.pid;
    node.ctr().pause(container.id())?;
    kill_shim(node, container.id())?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    gone(pid)
}

fn a_pod_whose_shim_is_killed_has_ended_with_all_its_containers(node: &Node) -> Outcome {
    let pod = node.pod("orphans").run()?;
    let one = pod.container("one").command(&["sleep", "600"]).start()?;
    let two = pod.container("two").command(&["sleep", "600"]).start()?;
    let tasks = node.containerd().ctr_in("k8s.io").tasks()?;
    let pids: Vec<_> = [one.id(), two.id()]
        .iter()
        .filter_map(|id| tasks.get(*id))
        .map(|task| task.pid)
        .collect();
    assert_eq!(pids.len(), 2);
    kill_shim(node, pod.id())?;
    for pid in pids {
        gone(pid)?;
    }
    for container in [&one, &two] {
        assert_ne!(container.wait_exit(SOON)?.exit_code, 0);
    }
    Ok(())
}

/// containerd has deleted the sandbox by then, and 2.0 to 2.3 call `delete` for nothing else.
fn a_pod_whose_sandbox_ended_first_ends_with_its_shim(node: &Node) -> Outcome {
    let pod = node.pod("headless").run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let tasks = || node.containerd().ctr_in("k8s.io").tasks();
    let (pause, main) = (pod.pid()?, container.pid()?);
    let shim = shim(node, pod.id())?;
    kill(Pid::from_raw(pause), Signal::SIGKILL)?;
    wait::until_true("the sandbox's task to be deleted", SOON, || {
        let is_over = pod.state().is_ok_and(|state| state == "SANDBOX_NOTREADY");
        is_over && tasks().is_ok_and(|tasks| !tasks.contains_key(pod.id()))
    })?;
    assert!(Path::new(&format!("/proc/{main}/cwd")).exists());
    node.containerd().kill_shim(&shim, node.shim())?;
    gone(main)?;
    assert_ne!(container.wait_exit(SOON)?.exit_code, 0);
    Ok(())
}

/// The kernel fails what tokio cannot do without: it panics.
fn a_pod_whose_shim_panics_has_ended_and_the_log_says_so(node: &Node) -> Outcome {
    let pod = node.pod("panics").run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let tasks = node.containerd().ctr_in("k8s.io").tasks()?;
    let pid = tasks.get(container.id()).ok_or("no task")?.pid;
    let shim = shim(node, pod.id())?;
    // It ends with the shim.
    let output = Command::new("strace")
        // Which of both it calls is the C library's choice.
        .args(["--quiet=all", "--follow-forks", "--trace=?epoll_wait,epoll_pwait"])
        .args(["--inject=?epoll_wait,epoll_pwait:error=EIO:when=1", "--attach"])
        .arg(shim.pid.to_string())
        .output()?;
    gone(shim.pid)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    gone(pid)?;
    assert_ne!(container.wait_exit(SOON)?.exit_code, 0);
    wait::until_true("the panic in the log", SOON, || {
        let log = node.containerd().log();
        log.contains("level=error msg=\"shim panicked: ") && log.contains("I/O driver")
    })?;
    // The node goes on.
    let next = node.pod("next").run()?;
    next.container("main").command(&["true"]).start()?;
    Ok(())
}
