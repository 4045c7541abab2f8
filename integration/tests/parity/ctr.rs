//! The life of a task, seen through ctr.

use std::thread;
use std::time::Duration;

use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, OciRuntime, Outcome, tests};

pub fn tests() -> Vec<Test> {
    tests![ctr:
        run_rm_gives_the_exit_status,
        a_detached_task_runs_until_it_is_killed,
        a_missing_program_fails_the_start_and_leaves_nothing,
        events_come_in_order,
        signals_reach_the_process,
        a_signal_to_something_unknown_is_an_error,
        a_running_task_cannot_be_deleted,
        kill_all_ends_execs_too,
        a_paused_task_stands_still,
        metrics_count_the_tasks_memory,
        ps_lists_the_tasks_processes,
        a_task_beyond_its_memory_limit_is_oom_killed,
        eight_tasks_at_once_do_not_disturb_each_other,
    ]
}

/// Counts in its output, a line every 50 ms.
const COUNTER: [&str; 3] = [
    "sh",
    "-c",
    "n=0; while :; do n=$((n+1)); echo $n; usleep 50000; done",
];

fn run_rm_gives_the_exit_status(node: &Node) -> Outcome {
    for status in [0, 1, 7, 255] {
        let output = node
            .container("exit")
            .run_rm(&["sh", "-c", &format!("exit {status}")])?;
        assert_eq!(output.status, status, "{output:?}");
    }
    Ok(())
}

fn a_detached_task_runs_until_it_is_killed(node: &Node) -> Outcome {
    let container = node.container("sleeper").start(&["sleep", "600"])?;
    assert_eq!(container.status()?, "RUNNING");
    container.kill("SIGKILL")?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    assert_eq!(container.status()?, "STOPPED");
    assert_eq!(container.delete()?, 137);
    Ok(())
}

fn a_missing_program_fails_the_start_and_leaves_nothing(node: &Node) -> Outcome {
    let output = node.container("missing").run_rm(&["/no/such/program"])?;
    assert_ne!(output.status, 0);
    assert!(
        output
            .stderr
            .to_lowercase()
            .contains("no such file or directory"),
        "{}",
        output.stderr
    );
    Ok(())
}

fn events_come_in_order(node: &Node) -> Outcome {
    let container = node
        .container("events")
        .start(&["sh", "-c", "sleep 1; exit 5"])?;
    assert_eq!(container.wait_exit(SOON)?, 5);
    container.has_events(["create", "start", "exit"]);
    let id = container.id().to_owned();
    assert_eq!(container.delete()?, 5);
    if !node.shim().is_podhook() {
        // The original of 2.1 at times ends before its last event is out.
        return Ok(());
    }
    let deleted = node.events().wait(&id, "delete", SOON)?;
    assert_eq!(deleted.exit_status(), 5);
    assert_eq!(
        node.events().topics(&id),
        ["create", "start", "exit", "delete"]
    );
    Ok(())
}

fn signals_reach_the_process(node: &Node) -> Outcome {
    let script =
        "trap 'echo got USR1' USR1; trap 'exit 9' TERM; echo ready; while :; do usleep 20000; done";
    let container = node.container("signals").start(&["sh", "-c", script])?;
    container.wait_output("ready", SOON)?;
    container.kill("SIGUSR1")?;
    container.wait_output("got USR1", SOON)?;
    assert_eq!(container.status()?, "RUNNING");
    container.kill("SIGTERM")?;
    assert_eq!(container.wait_exit(SOON)?, 9);
    Ok(())
}

fn a_signal_to_something_unknown_is_an_error(node: &Node) -> Outcome {
    let unknown = node
        .ctr()
        .try_run(&["task", "kill", "-s", "SIGTERM", "no-such-container"])?;
    assert_ne!(unknown.status, 0);
    assert!(unknown.stderr.contains("not found"), "{}", unknown.stderr);

    let container = node.container("known").start(&["sleep", "600"])?;
    let exec = node.ctr().try_run(&[
        "task",
        "kill",
        "-s",
        "SIGTERM",
        "--exec-id",
        "no-such-exec",
        container.id(),
    ])?;
    assert_ne!(exec.status, 0);
    assert!(exec.stderr.contains("not found"), "{}", exec.stderr);

    container.kill("SIGKILL")?;
    container.wait_exit(SOON)?;
    let ended = node
        .ctr()
        .try_run(&["task", "kill", "-s", "SIGTERM", container.id()])?;
    assert_ne!(ended.status, 0);
    assert!(
        ended.stderr.contains("process already finished"),
        "{}",
        ended.stderr
    );
    Ok(())
}

fn a_running_task_cannot_be_deleted(node: &Node) -> Outcome {
    let container = node.container("running").start(&["sleep", "600"])?;
    let output = node.ctr().try_run(&["task", "delete", container.id()])?;
    assert_ne!(output.status, 0, "{output:?}");
    assert_eq!(container.status()?, "RUNNING");
    Ok(())
}

fn kill_all_ends_execs_too(node: &Node) -> Outcome {
    let script = "trap 'exit 0' USR1; echo ready; while :; do usleep 20000; done";
    let container = node.container("all").start(&["sh", "-c", script])?;
    container.wait_output("ready", SOON)?;
    node.ctr().run(&[
        "task",
        "exec",
        "-d",
        "--exec-id",
        "sleeper",
        "--log-uri",
        "file:///dev/null",
        container.id(),
        "sleep",
        "600",
    ])?;
    node.ctr()
        .run(&["task", "kill", "--all", "-s", "SIGUSR1", container.id()])?;
    assert_eq!(container.wait_exit(SOON)?, 0);
    let exits = || {
        node.events()
            .of(container.id())
            .into_iter()
            .filter(|event| event.topic == "/tasks/exit")
            .collect::<Vec<_>>()
    };
    wait::until_true("both exits", SOON, || exits().len() == 2)?;
    let exec = exits()
        .into_iter()
        .find(|event| event.process_id() == "sleeper")
        .ok_or("no exit of the exec")?;
    // From 1.2 on runc signals only the first process where that ends all others.
    let status = match node.place().oci() {
        OciRuntime::Runc1_3 | OciRuntime::Runc1_4 | OciRuntime::Runc1_5 => 137,
        _ => 128 + 10,
    };
    assert_eq!(exec.exit_status(), status, "{exec:?}");
    Ok(())
}

fn a_paused_task_stands_still(node: &Node) -> Outcome {
    let container = node.container("pause").start(&COUNTER)?;
    container.wait_output("3\n", SOON)?;
    node.ctr().pause(container.id())?;
    assert_eq!(container.status()?, "PAUSED");
    // The shim may still have had something in its hands.
    let before = wait::until("the counter to stand still", SOON, || {
        let before = container.output();
        thread::sleep(Duration::from_millis(400));
        (container.output() == before).then_some(before)
    })?;
    node.ctr().run(&["task", "resume", container.id()])?;
    assert_eq!(container.status()?, "RUNNING");
    wait::until_true("the counter to go on", SOON, || {
        container.output().len() > before.len()
    })?;
    container.has_events(["create", "start", "paused", "resumed"]);
    Ok(())
}

fn metrics_count_the_tasks_memory(node: &Node) -> Outcome {
    // A megabyte of the page cache is charged to the container that wrote it.
    let script = "head -c 1048576 /dev/urandom > /tmp/file; echo written; exec sleep 600";
    let container = node.container("metrics").start(&["sh", "-c", script])?;
    container.wait_output("written", SOON)?;
    let table = node.ctr().run(&["task", "metrics", container.id()])?;
    let metric = |names: &[&str]| {
        let row = table
            .lines()
            .find(|line| names.contains(&line.split_whitespace().next().unwrap_or_default()));
        row.and_then(|row| row.split_whitespace().last()?.parse::<u64>().ok())
            .ok_or(format!("no {names:?} in\n{table}"))
    };
    let memory = metric(&["memory.usage_in_bytes", "memory.usage"])?;
    assert!((1 << 20..64 << 20).contains(&memory), "{table}");
    assert_eq!(metric(&["pids.current"])?, 1);
    Ok(())
}

fn ps_lists_the_tasks_processes(node: &Node) -> Outcome {
    let container = node.container("ps").start(&["sleep", "600"])?;
    node.ctr().run(&[
        "task",
        "exec",
        "-d",
        "--exec-id",
        "second",
        "--log-uri",
        "file:///dev/null",
        container.id(),
        "sleep",
        "600",
    ])?;
    let table = node.ctr().run(&["task", "ps", container.id()])?;
    let pid = container.task()?.ok_or("no task")?.pid;
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(
        table.lines().any(|line| line.starts_with(&pid.to_string())),
        "{table}"
    );
    assert!(
        table
            .lines()
            .any(|line| line.contains("ExecID:second") || line.contains("exec_id:\"second\"")),
        "{table}"
    );
    Ok(())
}

fn a_task_beyond_its_memory_limit_is_oom_killed(node: &Node) -> Outcome {
    let container = node
        .container("oom")
        .flag(["--memory-limit", "33554432"])
        // One process only, so that it is known which one the kernel kills.
        .start(&[
            "sh",
            "-c",
            "until [ -e /tmp/go ]; do usleep 20000; done; exec tail -c 200000000 /dev/zero",
        ])?;
    // Not before it has started: the original does not look yet. The exec may end with its container.
    drop(container.exec(&["touch", "/tmp/go"]));
    node.events().wait(container.id(), "oom", SOON)?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    Ok(())
}

fn eight_tasks_at_once_do_not_disturb_each_other(node: &Node) -> Outcome {
    thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn(move || {
                    node.container("many").run_rm(&[
                        "sh",
                        "-c",
                        &format!("echo I am {n}; exit {n}"),
                    ])
                })
            })
            .collect();
        for (n, run) in runs.into_iter().enumerate() {
            let output = run.join().map_err(|_| "a run panicked")??;
            assert_eq!(
                (output.status, output.stdout),
                (i32::try_from(n)?, format!("I am {n}\n"))
            );
        }
        Ok(())
    })
}
