//! The calls of nerdctl, in nerdctl's order.

use nix::libc::{SIGKILL, SIGTERM, SIGUSR1};
use podhook_integration::node::Container;
use podhook_integration::suite::Test;
use podhook_integration::tasks::{Stdio, Tasks, to_file};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use tonic::Code;

pub fn tests() -> Vec<Test> {
    tests![nerdctl:
        run_detached_is_create_wait_start,
        stop_is_state_wait_kill,
        stop_kills_what_does_not_end,
        stop_resumes_what_is_paused,
        stop_of_a_created_task_leaves_it,
        kill_sends_any_signal,
        start_again_after_stop,
        remove_by_force_kills_and_deletes,
        exec_is_exec_wait_start_and_delete,
        exec_detached_outlives_the_client,
        top_lists_the_processes,
        update_changes_the_limit,
        stats_are_a_cgroup_message,
        a_created_task_can_be_deleted,
        a_created_task_can_be_killed,
    ]
}

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Ends with status 3 on SIGTERM.
const GRACEFUL: [&str; 3] = [
    "sh",
    "-c",
    "trap 'exit 3' TERM; echo ready; while :; do usleep 20000; done",
];
/// Does not end on SIGTERM.
const STUBBORN: [&str; 3] = [
    "sh",
    "-c",
    "trap '' TERM; echo ready; while :; do sleep 1; done",
];

/// A container without a task, and its output in a file.
fn created<'a>(node: &'a Node, args: &[&str]) -> Fallible<(Container<'a>, Tasks, Stdio)> {
    let container = node.container("nerd").create(args)?;
    let stdio = to_file(&container.log());
    Ok((container, node.tasks()?, stdio))
}

fn running<'a>(node: &'a Node, args: &[&str]) -> Fallible<(Container<'a>, Tasks)> {
    let (container, tasks, stdio) = created(node, args)?;
    tasks.create(container.id(), &stdio)?;
    tasks.start(container.id(), "")?;
    Ok((container, tasks))
}

fn run_detached_is_create_wait_start(node: &Node) -> Outcome {
    let script = "trap 'exit 8' TERM; echo out; while :; do usleep 20000; done";
    let (container, tasks, stdio) = created(node, &["sh", "-c", script])?;
    let id = container.id();
    let pid = tasks.create(id, &stdio)?;
    let state = tasks.state(id, "")?;
    assert_eq!((state.status, state.pid), ("CREATED", pid));
    std::thread::scope(|scope| {
        let wait = scope.spawn(|| tasks.wait(id, ""));
        assert_eq!(tasks.start(id, "")?, pid);
        assert_eq!(tasks.state(id, "")?.status, "RUNNING");
        container.wait_output("out\n", SOON)?;
        tasks.kill(id, "", SIGTERM, false)?;
        assert_eq!(wait.join().map_err(|_| "wait panicked")??, 8);
        let state = tasks.state(id, "")?;
        assert_eq!((state.status, state.exit_status), ("STOPPED", 8));
        assert_eq!(tasks.delete(id, "")?, 8);
        let gone = tasks.state(id, "").err().ok_or("it is still there")?;
        assert_eq!(gone.code(), Code::NotFound);
        Ok(())
    })
}

fn stop_is_state_wait_kill(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &GRACEFUL)?;
    let id = container.id();
    container.wait_output("ready", SOON)?;
    assert_eq!(tasks.state(id, "")?.status, "RUNNING");
    std::thread::scope(|scope| {
        let wait = scope.spawn(|| tasks.wait(id, ""));
        tasks.kill(id, "", SIGTERM, false)?;
        assert_eq!(wait.join().map_err(|_| "wait panicked")??, 3);
        // A stopped task is kept: `nerdctl start` deletes it.
        assert_eq!(tasks.state(id, "")?.status, "STOPPED");
        assert_eq!(tasks.wait(id, "")?, 3);
        Ok(())
    })
}

fn stop_kills_what_does_not_end(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &STUBBORN)?;
    let id = container.id();
    container.wait_output("ready", SOON)?;
    std::thread::scope(|scope| {
        let wait = scope.spawn(|| tasks.wait(id, ""));
        tasks.kill(id, "", SIGTERM, false)?;
        assert_eq!(tasks.state(id, "")?.status, "RUNNING");
        tasks.kill(id, "", SIGKILL, false)?;
        assert_eq!(wait.join().map_err(|_| "wait panicked")??, 137);
        Ok(())
    })
}

fn stop_resumes_what_is_paused(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &GRACEFUL)?;
    let id = container.id();
    container.wait_output("ready", SOON)?;
    tasks.pause(id)?;
    assert_eq!(tasks.state(id, "")?.status, "PAUSED");
    std::thread::scope(|scope| {
        let wait = scope.spawn(|| tasks.wait(id, ""));
        tasks.resume(id)?;
        tasks.kill(id, "", SIGTERM, false)?;
        assert_eq!(wait.join().map_err(|_| "wait panicked")??, 3);
        Ok(())
    })
}

fn stop_of_a_created_task_leaves_it(node: &Node) -> Outcome {
    let (container, tasks, stdio) = created(node, &GRACEFUL)?;
    tasks.create(container.id(), &stdio)?;
    // nerdctl looks at the state and does nothing.
    assert_eq!(tasks.state(container.id(), "")?.status, "CREATED");
    tasks.start(container.id(), "")?;
    container.wait_output("ready", SOON)?;
    Ok(())
}

fn kill_sends_any_signal(node: &Node) -> Outcome {
    let script = "trap 'echo usr1' USR1; echo ready; while :; do usleep 20000; done";
    let (container, tasks) = running(node, &["sh", "-c", script])?;
    container.wait_output("ready", SOON)?;
    tasks.kill(container.id(), "", SIGUSR1, false)?;
    container.wait_output("usr1", SOON)?;
    assert_eq!(tasks.state(container.id(), "")?.status, "RUNNING");
    Ok(())
}

fn start_again_after_stop(node: &Node) -> Outcome {
    let (container, tasks, stdio) = created(
        node,
        &[
            "sh",
            "-c",
            "echo x >> /root/runs; cat /root/runs | wc -l; exit 2",
        ],
    )?;
    for run in 1..=3 {
        tasks.create(container.id(), &stdio)?;
        tasks.start(container.id(), "")?;
        assert_eq!(tasks.wait(container.id(), "")?, 2);
        // The files of the first run are still there in the second: it is the same container.
        container.wait_output(&format!("{run}\n"), SOON)?;
        assert_eq!(tasks.delete(container.id(), "")?, 2);
    }
    Ok(())
}

fn remove_by_force_kills_and_deletes(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &STUBBORN)?;
    let id = container.id();
    std::thread::scope(|scope| {
        // containerd.WithProcessKill: wait, kill all, delete.
        let wait = scope.spawn(|| tasks.wait(id, ""));
        tasks.kill(id, "", SIGKILL, true)?;
        assert_eq!(wait.join().map_err(|_| "wait panicked")??, 137);
        assert_eq!(tasks.state(id, "")?.status, "STOPPED");
        assert_eq!(tasks.delete(id, "")?, 137);
        let second = tasks.delete(id, "").err().ok_or("it was deleted twice")?;
        assert_eq!(second.code(), Code::NotFound);
        Ok(())
    })
}

fn exec_is_exec_wait_start_and_delete(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &GRACEFUL)?;
    let id = container.id();
    let output = container.log().with_extension("exec");
    let stdio = to_file(&output);
    tasks.exec(
        id,
        "e1",
        &[
            "sh",
            "-c",
            "trap 'exit 6' TERM; echo in exec; while :; do usleep 20000; done",
        ],
        &stdio,
    )?;
    assert_eq!(tasks.state(id, "e1")?.status, "CREATED");
    std::thread::scope(|scope| {
        let wait = scope.spawn(|| tasks.wait(id, "e1"));
        let pid = tasks.start(id, "e1")?;
        let state = tasks.state(id, "e1")?;
        assert_eq!((state.status, state.pid), ("RUNNING", pid));
        wait::until_true("its output", SOON, || {
            std::fs::read_to_string(&output).is_ok_and(|text| text == "in exec\n")
        })?;
        tasks.kill(id, "e1", SIGTERM, false)?;
        assert_eq!(wait.join().map_err(|_| "wait panicked")??, 6);
        let state = tasks.state(id, "e1")?;
        assert_eq!((state.status, state.exit_status), ("STOPPED", 6));
        assert_eq!(tasks.delete(id, "e1")?, 6);
        assert_eq!(tasks.state(id, "")?.status, "RUNNING");
        Ok(())
    })
}

fn exec_detached_outlives_the_client(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &GRACEFUL)?;
    let id = container.id();
    tasks.exec(id, "long", &["sleep", "600"], &Stdio::default())?;
    tasks.start(id, "long")?;
    drop(tasks);
    let tasks = node.tasks()?;
    assert_eq!(tasks.state(id, "long")?.status, "RUNNING");
    tasks.kill(id, "long", SIGKILL, false)?;
    assert_eq!(tasks.wait(id, "long")?, 137);
    assert_eq!(tasks.delete(id, "long")?, 137);
    Ok(())
}

fn top_lists_the_processes(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &["sh", "-c", "sleep 600 & echo ready; wait"])?;
    container.wait_output("ready", SOON)?;
    let first = tasks.state(container.id(), "")?.pid;
    wait::until_true("both processes", SOON, || {
        tasks
            .pids(container.id())
            .is_ok_and(|pids| pids.len() == 2 && pids.contains(&first))
    })?;
    Ok(())
}

fn update_changes_the_limit(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &["sleep", "600"])?;
    tasks.update(
        container.id(),
        &serde_json::json!({"memory": {"limit": 50 << 20}}),
    )?;
    let script = "p=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup); echo $p";
    assert_eq!(container.exec(&["sh", "-c", script])?.status, 0);
    let cgroup = std::fs::read_to_string(format!(
        "/proc/{}/cgroup",
        tasks.state(container.id(), "")?.pid
    ))?;
    let path = cgroup
        .lines()
        .find_map(|line| {
            line.split_once(":memory:")
                .map(|(_, path)| format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"))
        })
        .or_else(|| {
            cgroup.lines().find_map(|line| {
                line.strip_prefix("0::")
                    .map(|path| format!("/sys/fs/cgroup{path}/memory.max"))
            })
        })
        .ok_or("no memory cgroup")?;
    assert_eq!(
        std::fs::read_to_string(path)?.trim(),
        (50 << 20).to_string()
    );
    Ok(())
}

fn stats_are_a_cgroup_message(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &["sleep", "600"])?;
    let (kind, size) = tasks.metrics(container.id())?;
    assert!(
        [
            "io.containerd.cgroups.v1.Metrics",
            "io.containerd.cgroups.v2.Metrics"
        ]
        .iter()
        .any(|name| kind.ends_with(name)),
        "{kind}"
    );
    assert!(size > 50, "{size}");
    Ok(())
}

fn a_created_task_can_be_deleted(node: &Node) -> Outcome {
    let (container, tasks, stdio) = created(node, &["sleep", "600"])?;
    tasks.create(container.id(), &stdio)?;
    tasks.delete(container.id(), "")?;
    let gone = tasks
        .state(container.id(), "")
        .err()
        .ok_or("it is still there")?;
    assert_eq!(gone.code(), Code::NotFound);
    Ok(())
}

fn a_created_task_can_be_killed(node: &Node) -> Outcome {
    let (container, tasks, stdio) = created(node, &["sleep", "600"])?;
    let id = container.id();
    tasks.create(id, &stdio)?;
    tasks.kill(id, "", SIGKILL, false)?;
    assert_eq!(tasks.wait(id, "")?, 137);
    assert_eq!(tasks.delete(id, "")?, 137);
    Ok(())
}
