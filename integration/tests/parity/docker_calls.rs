//! The calls of dockerd, in its order; dockerd itself is in `docker`.

use std::time::Duration;

use nix::libc::{SIGKILL, SIGTERM};
use podhook_integration::node::Container;
use podhook_integration::suite::Test;
use podhook_integration::tasks::{Stdio, Tasks, to_file};
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};
use tonic::Code;

pub fn tests() -> Vec<Test> {
    tests![docker_calls:
        the_exit_event_comes_once_and_then_delete,
        stop_signals_and_then_kills,
        kill_after_the_end_is_not_found,
        a_kill_does_not_wait_for_the_end,
        exec_publishes_its_exit_once,
        exec_ends_before_its_container_in_the_events,
        a_failed_exec_leaves_nothing,
        input_that_is_closed_ends,
        resize_of_a_terminal_is_seen,
        resize_without_a_terminal_is_no_error,
    ]
}

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const GRACEFUL: [&str; 3] = [
    "sh",
    "-c",
    "trap 'exit 3' TERM; echo ready; while :; do usleep 20000; done",
];

fn running<'a>(node: &'a Node, args: &[&str]) -> Fallible<(Container<'a>, Tasks)> {
    let container = node.container("dock").create(args)?;
    let tasks = node.tasks()?;
    tasks.create(container.id(), &to_file(&container.log()))?;
    tasks.start(container.id(), "")?;
    Ok((container, tasks))
}

fn exits(node: &Node, container: &Container<'_>, process: &str) -> usize {
    let events = node.events().of(container.id());
    events
        .iter()
        .filter(|event| event.topic == "/tasks/exit" && event.process_id() == process)
        .count()
}

/// dockerd learns of the end by the event alone.
fn the_exit_event_comes_once_and_then_delete(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &["sh", "-c", "exit 5"])?;
    assert_eq!(container.wait_exit(SOON)?, 5);
    assert_eq!(tasks.delete(container.id(), "")?, 5);
    assert_eq!(exits(node, &container, container.id()), 1);
    Ok(())
}

fn stop_signals_and_then_kills(node: &Node) -> Outcome {
    let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
    let (container, tasks) = running(node, &["sh", "-c", script])?;
    container.wait_output("ready", SOON)?;
    tasks.kill(container.id(), "", SIGTERM, false)?;
    assert!(container.wait_exit(Duration::from_millis(300)).is_err());
    tasks.kill(container.id(), "", SIGKILL, false)?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    assert_eq!(tasks.delete(container.id(), "")?, 137);
    Ok(())
}

fn kill_after_the_end_is_not_found(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &["true"])?;
    container.wait_exit(SOON)?;
    for signal in [SIGTERM, SIGKILL] {
        let error = tasks
            .kill(container.id(), "", signal, false)
            .err()
            .ok_or("no error")?;
        assert_eq!(error.code(), Code::NotFound, "{error}");
    }
    Ok(())
}

/// dockerd holds the container's lock over Kill.
fn a_kill_does_not_wait_for_the_end(node: &Node) -> Outcome {
    let held = "until [ -e /tmp/go ]; do usleep 20000; done";
    let script = &format!("trap '{held}; exit 3' TERM; echo ready; while :; do usleep 20000; done");
    let (container, tasks) = running(node, &["sh", "-c", script])?;
    container.wait_output("ready", SOON)?;
    tasks.kill(container.id(), "", SIGTERM, false)?;
    assert_eq!(tasks.state(container.id(), "")?.status, "RUNNING");
    drop(container.exec(&["touch", "/tmp/go"]));
    assert_eq!(container.wait_exit(SOON)?, 3);
    Ok(())
}

fn exec_publishes_its_exit_once(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &GRACEFUL)?;
    for n in 0..5 {
        let exec = format!("e{n}");
        tasks.exec(
            container.id(),
            &exec,
            &["sh", "-c", &format!("exit {n}")],
            &Stdio::default(),
        )?;
        tasks.start(container.id(), &exec)?;
        assert_eq!(tasks.wait(container.id(), &exec)?, n);
        assert_eq!(tasks.delete(container.id(), &exec)?, n);
    }
    tasks.kill(container.id(), "", SIGKILL, false)?;
    container.wait_exit(SOON)?;
    for n in 0..5 {
        assert_eq!(exits(node, &container, &format!("e{n}")), 1);
    }
    assert_eq!(exits(node, &container, container.id()), 1);
    Ok(())
}

fn exec_ends_before_its_container_in_the_events(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &GRACEFUL)?;
    for exec in ["a", "b", "c"] {
        tasks.exec(container.id(), exec, &["sleep", "600"], &Stdio::default())?;
        tasks.start(container.id(), exec)?;
    }
    tasks.kill(container.id(), "", SIGKILL, false)?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    for exec in ["a", "b", "c"] {
        assert_eq!(exits(node, &container, exec), 1, "{exec}");
        assert_eq!(tasks.wait(container.id(), exec)?, 137);
    }
    Ok(())
}

fn a_failed_exec_leaves_nothing(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &GRACEFUL)?;
    tasks.exec(
        container.id(),
        "bad",
        &["no-such-program"],
        &Stdio::default(),
    )?;
    let error = tasks
        .start(container.id(), "bad")
        .err()
        .ok_or("it started")?;
    assert!(error.to_string().contains("not found in $PATH"), "{error}");
    tasks.delete(container.id(), "bad")?;
    // The id is free again.
    tasks.exec(container.id(), "bad", &["true"], &Stdio::default())?;
    tasks.start(container.id(), "bad")?;
    assert_eq!(tasks.wait(container.id(), "bad")?, 0);
    assert_eq!(tasks.state(container.id(), "")?.status, "RUNNING");
    Ok(())
}

/// A fifo in the folder of the node's containerd, and its path.
fn fifo(node: &Node, name: &str) -> Fallible<String> {
    let path = node.containerd().dir().join("logs").join(name);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU)?;
    Ok(path.display().to_string())
}

fn input_that_is_closed_ends(node: &Node) -> Outcome {
    let container = node
        .container("stdin")
        .create(&["sh", "-c", "wc -c; exit 4"])?;
    let tasks = node.tasks()?;
    let stdin = fifo(node, &format!("{}.in", container.id()))?;
    let stdio = Stdio {
        stdin: stdin.clone(),
        ..to_file(&container.log())
    };
    tasks.create(container.id(), &stdio)?;
    tasks.start(container.id(), "")?;
    std::fs::write(&stdin, b"12345")?;
    // The shim holds the fifo open: the end comes by CloseIO, not with the client.
    assert_eq!(tasks.state(container.id(), "")?.status, "RUNNING");
    tasks.close_stdin(container.id(), "")?;
    assert_eq!(tasks.wait(container.id(), "")?, 4);
    container.wait_output("5\n", SOON)?;
    Ok(())
}

fn resize_of_a_terminal_is_seen(node: &Node) -> Outcome {
    // With a flag of its own before them ctr of 1.6 takes `sh -c` for flags too.
    let container = node.container("size").flag(["--tty"]).create(&["sh"])?;
    let tasks = node.tasks()?;
    let (stdin, stdout) = (
        fifo(node, &format!("{}.in", container.id()))?,
        fifo(node, &format!("{}.out", container.id()))?,
    );
    let stdio = Stdio {
        stdin: stdin.clone(),
        stdout: stdout.clone(),
        terminal: true,
        ..Default::default()
    };
    let reader = std::thread::spawn(move || std::fs::read_to_string(stdout));
    tasks.create(container.id(), &stdio)?;
    tasks.start(container.id(), "")?;
    tasks.resize(container.id(), "", 99, 44)?;
    std::fs::write(&stdin, b"stty size; exit\n")?;
    assert_eq!(tasks.wait(container.id(), "")?, 0);
    tasks.delete(container.id(), "")?;
    let output = reader.join().map_err(|_| "the reader panicked")??;
    assert!(output.contains("44 99"), "{output:?}");
    Ok(())
}

fn resize_without_a_terminal_is_no_error(node: &Node) -> Outcome {
    let (container, tasks) = running(node, &GRACEFUL)?;
    tasks.resize(container.id(), "", 99, 44)?;
    Ok(())
}
