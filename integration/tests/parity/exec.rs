//! Further processes in a running container.

use podhook_integration::suite::Test;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};

pub fn tests() -> Vec<Test> {
    tests![exec:
        exec_gives_output_and_exit_status,
        exec_reads_its_input_to_the_end,
        exec_is_inside_the_container,
        a_killed_exec_says_so,
        a_missing_program_fails_the_exec_only,
        an_exec_id_is_used_once_at_a_time,
        an_ended_task_takes_no_exec,
        exec_events_come_in_order,
        the_end_of_init_ends_execs,
    ]
}

fn exec_gives_output_and_exit_status(node: &Node) -> Outcome {
    let container = node.container("exec").start(&["sleep", "600"])?;
    for status in [0, 3] {
        let shown = ["out\n", "err\n"];
        let output = container.exec_shown("echo out; echo err >&2", b"", &shown, status)?;
        assert_eq!(
            (
                output.stdout.as_str(),
                output.stderr.as_str(),
                output.status
            ),
            ("out\n", "err\n", status)
        );
    }
    Ok(())
}

fn exec_reads_its_input_to_the_end(node: &Node) -> Outcome {
    let container = node.container("input").start(&["sleep", "600"])?;
    let input = "line\n".repeat(1000);
    let output = container.exec_shown("wc -l", input.as_bytes(), &["1000\n"], 0)?;
    assert_eq!(
        (output.stdout.trim(), output.status),
        ("1000", 0),
        "{output:?}"
    );
    Ok(())
}

fn exec_is_inside_the_container(node: &Node) -> Outcome {
    let container = node
        .container("inside")
        .flag(["--env", "COLOUR=green"])
        .flag(["--cwd", "/tmp"])
        .start(&["sleep", "600"])?;
    let script = "for n in cgroup ipc mnt net pid uts; do \
        [ $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) ] || echo another $n; done; \
        diff /proc/self/cgroup /proc/1/cgroup; echo $COLOUR $PWD";
    let output = container.exec_shown(script, b"", &["green /tmp\n"], 0)?;
    assert_eq!(
        (output.stdout.as_str(), output.status),
        ("green /tmp\n", 0),
        "{output:?}"
    );
    Ok(())
}

fn a_killed_exec_says_so(node: &Node) -> Outcome {
    let container = node.container("killed").start(&["sleep", "600"])?;
    assert_eq!(container.exec(&["sh", "-c", "kill -KILL $$"])?.status, 137);
    assert_eq!(container.status()?, "RUNNING");
    Ok(())
}

fn a_missing_program_fails_the_exec_only(node: &Node) -> Outcome {
    let container = node.container("missing").start(&["sleep", "600"])?;
    let output = container.exec(&["no-such-program"])?;
    assert_ne!(output.status, 0);
    assert!(
        output.stderr.contains("executable file") && output.stderr.contains("not found in $PATH"),
        "{}",
        output.stderr
    );
    assert_eq!(container.exec(&["true"])?.status, 0);
    Ok(())
}

fn an_exec_id_is_used_once_at_a_time(node: &Node) -> Outcome {
    let container = node.container("twice").start(&["sleep", "600"])?;
    let exec = [
        "task",
        "exec",
        "-d",
        "--exec-id",
        "one",
        "--log-uri",
        "file:///dev/null",
        container.id(),
        "sleep",
        "600",
    ];
    node.ctr().run(&exec)?;
    let second = node.ctr().try_run(&exec)?;
    assert_ne!(second.status, 0);
    assert!(
        second.stderr.contains("already exists"),
        "{}",
        second.stderr
    );
    Ok(())
}

fn an_ended_task_takes_no_exec(node: &Node) -> Outcome {
    let container = node.container("ended").start(&["sleep", "600"])?;
    container.kill("SIGKILL")?;
    container.wait_exit(SOON)?;
    let output = container.exec(&["true"])?;
    assert_ne!(output.status, 0);
    Ok(())
}

fn exec_events_come_in_order(node: &Node) -> Outcome {
    let container = node.container("events").start(&["sleep", "600"])?;
    assert_eq!(container.exec(&["sh", "-c", "exit 4"])?.status, 4);
    let exit = node.events().wait(container.id(), "exit", SOON)?;
    assert_eq!(exit.exit_status(), 4);
    assert_eq!(
        container.events(),
        ["create", "start", "exec-added", "exec-started", "exit"]
    );
    Ok(())
}

fn the_end_of_init_ends_execs(node: &Node) -> Outcome {
    let container = node.container("init").start(&["sleep", "600"])?;
    node.ctr().run(&[
        "task",
        "exec",
        "-d",
        "--exec-id",
        "long",
        "--log-uri",
        "file:///dev/null",
        container.id(),
        "sleep",
        "600",
    ])?;
    container.kill("SIGKILL")?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    // The exit of an exec is never seen after that of the init process.
    let exits: Vec<_> = node
        .events()
        .of(container.id())
        .into_iter()
        .filter(|event| event.topic == "/tasks/exit")
        .collect();
    assert_eq!(
        exits
            .iter()
            .map(|event| event.process_id())
            .collect::<Vec<_>>(),
        ["long", container.id()]
    );
    assert_eq!(exits[0].exit_status(), 137);
    Ok(())
}
