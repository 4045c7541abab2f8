//! preStop and the kill sequence, seen through ctr.

use std::thread;
use std::time::Duration;

use podhook_integration::node::Container;
use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::Recorded;
use crate::script::{
    Command, Error, exec, held, marks, polite, server, stubborn, together, with, words,
};

pub fn tests() -> Vec<Test> {
    tests![kill:
        kill_returns_at_once_and_the_signal_follows_the_hook,
        a_hook_of_two_seconds_delays_the_signal_by_two_seconds,
        sigkill_ends_hook_and_container_at_once,
        the_end_of_the_process_ends_the_hook,
        a_hook_longer_than_the_grace_period_leaves_two_seconds_for_the_signal,
        a_process_that_ignores_the_signal_dies_at_the_end_of_the_grace_period,
        another_signal_is_delivered_untouched,
        a_signal_that_ends_the_container_without_its_hook_is_told,
        the_images_own_stop_signal_starts_the_sequence,
        every_stop_signal_starts_the_sequence,
        no_grace_kills_at_once_without_the_hook,
        the_lifecycles_stop_signal_replaces_the_clients,
        a_failing_hook_is_recorded_and_the_signal_is_sent,
        a_hook_that_cannot_run_does_not_delay_the_signal,
        a_paused_container_gets_the_signal_without_the_hook,
        the_hook_does_not_run_for_a_container_that_ends_by_itself,
        a_signal_to_an_exec_starts_nothing,
    ]
}

/// Runs `command` with the lifecycle and the trace; returns when it has left the mark `ready`.
fn start<'a>(
    node: &'a Node,
    trace: &Trace,
    lifecycle: &Value,
    command: &Command,
) -> Result<Container<'a>, Error> {
    let container = node
        .container("kill")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(command))?;
    trace.wait("ready")?;
    Ok(container)
}

fn kill_returns_at_once_and_the_signal_follows_the_hook(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?});
    let container = start(node, &trace, &lifecycle, &polite())?;
    container.kill("SIGTERM")?;
    trace.wait("hook-begin")?;
    let record = container.recorded()?;
    assert_eq!(
        (record.phase(), record.result("preStop")),
        ("PreStop", String::new())
    );
    // More of them are accepted at once and start nothing.
    container.kill("SIGTERM")?;
    container.kill("SIGINT")?;
    thread::sleep(Duration::from_millis(300));
    assert_eq!(trace.marks(), ["ready", "hook-begin"]);
    assert_eq!(container.status()?, "RUNNING");
    container.has_events(["create", "start"]);

    trace.release("hook")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    assert_eq!(
        trace.marks(),
        ["ready", "hook-begin", "hook-end", "got-TERM"]
    );
    let record = container.wait_end()?;
    let hook = record.hook("preStop")?;
    assert_eq!(hook.text("/result"), "Succeeded");
    let signalled = record.time("/termination/signalledAt")?;
    assert!(hook.time("/finishedAt")? <= signalled, "{record:?}");
    assert_eq!(record.text("/termination/signal"), "SIGTERM");
    assert_eq!(record.number("/termination/exitStatus"), Some(7));
    assert_eq!(record.text("/termination/killedAt"), "");
    assert_eq!(container.delete()?, 7);
    Ok(())
}

fn a_hook_of_two_seconds_delays_the_signal_by_two_seconds(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": {"sleep": {"seconds": 2}}});
    let container = start(node, &trace, &lifecycle, &polite())?;
    container.kill("SIGTERM")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    let record = container.wait_end()?;
    let waited = record.between("/termination/requestedAt", "/termination/signalledAt")?;
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    // The mark's clock lags by a tick.
    let tick = Duration::from_millis(20);
    assert!(trace.time("got-TERM")? + tick >= record.time("/termination/signalledAt")?);
    Ok(())
}

fn sigkill_ends_hook_and_container_at_once(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?});
    let container = start(node, &trace, &lifecycle, &polite())?;
    container.kill("SIGTERM")?;
    trace.wait("hook-begin")?;
    container.kill("SIGKILL")?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    assert_eq!(trace.marks(), ["ready", "hook-begin"]);
    let record = container.wait_hook("preStop")?;
    let hook = record.hook("preStop")?;
    assert_eq!(
        (hook.text("/result"), hook.text("/message")),
        ("Aborted", "aborted by SIGKILL")
    );
    assert_eq!(record.text("/termination/signalledAt"), "");
    record.time("/termination/killedAt")?;
    Ok(())
}

fn the_end_of_the_process_ends_the_hook(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?});
    let container = start(node, &trace, &lifecycle, &server(&["USR1"], &["USR1"]))?;
    container.kill("SIGTERM")?;
    trace.wait("hook-begin")?;
    container.kill("SIGUSR1")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    assert_eq!(container.status()?, "STOPPED");
    let record = container.wait_hook("preStop")?;
    assert_eq!(
        (record.phase(), &*record.result("preStop")),
        ("Stopped", "Aborted")
    );
    assert!(!trace.has("hook-end"));
    Ok(())
}

fn a_hook_longer_than_the_grace_period_leaves_two_seconds_for_the_signal(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?, "terminationGracePeriodSeconds": 5});
    let container = start(node, &trace, &lifecycle, &stubborn())?;
    container.kill("SIGTERM")?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    // A process that gets no processor in these two seconds leaves no mark any more.
    let marks = trace.marks();
    assert_eq!(marks[..2], ["ready", "hook-begin"]);
    assert!(
        marks[2..].iter().all(|mark| mark == "got-TERM"),
        "{marks:?}"
    );
    let record = container.wait_end()?;
    let hook = record.hook("preStop")?;
    assert_eq!(hook.text("/result"), "TimedOut");
    assert_eq!(
        hook.text("/message"),
        "timed out after 3s (grace period less the time for the stop signal: terminationGracePeriodSeconds)"
    );
    let window = |to| record.between("/termination/requestedAt", to);
    let signalled = window("/termination/signalledAt")?.as_secs_f64();
    let killed = window("/termination/killedAt")?.as_secs_f64();
    assert!(signalled >= 3.0, "signalled after {signalled} s");
    assert!(killed >= 5.0, "killed after {killed} s");
    assert!(killed > signalled && window("/termination/exitedAt")?.as_secs() >= 5);
    assert_eq!(record.number("/termination/gracePeriodSeconds"), Some(5));
    Ok(())
}

fn a_process_that_ignores_the_signal_dies_at_the_end_of_the_grace_period(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"terminationGracePeriodSeconds": 6});
    let container = start(node, &trace, &lifecycle, &stubborn())?;
    container.kill("SIGTERM")?;
    trace.wait("got-TERM")?;
    container.wait_record("the signal", SOON, |record| {
        record.time("/termination/signalledAt").is_ok()
    })?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    let record = container.wait_end()?;
    let killed = record.between("/termination/requestedAt", "/termination/killedAt")?;
    let exited = record.between("/termination/requestedAt", "/termination/exitedAt")?;
    assert!(
        killed.as_secs() >= 6 && exited.as_secs() >= 6,
        "{killed:?} {exited:?}"
    );
    assert!(record.runs("preStop").is_empty());
    Ok(())
}

fn another_signal_is_delivered_untouched(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": marks("hook")});
    let signals = ["USR1", "HUP", "USR2", "WINCH"];
    let container = start(node, &trace, &lifecycle, &server(&signals, &[]))?;
    for signal in signals {
        container.kill(&format!("SIG{signal}"))?;
        trace.wait(&format!("got-{signal}"))?;
    }
    assert_eq!(container.status()?, "RUNNING");
    assert!(!trace.has("hook"));
    let record = container.recorded()?;
    assert_eq!(record.phase(), "Running");
    assert!(record.json().get("termination").is_none(), "{record:?}");
    Ok(())
}

fn a_signal_that_ends_the_container_without_its_hook_is_told(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": marks("hook")});
    let container = start(node, &trace, &lifecycle, &server(&["WINCH"], &["WINCH"]))?;
    container.kill("SIGWINCH")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    assert_eq!(trace.marks(), ["ready", "got-WINCH"]);
    let record = container.wait_end()?;
    let hook = record.hook("preStop")?;
    assert_eq!(hook.text("/result"), "Skipped");
    let why = "the container ended after SIGWINCH, which is none of its stop signals: \
        set stopSignal of the lifecycle, or stop_signals of ";
    let message = hook.text("/message");
    assert!(message.starts_with(why), "{message}");
    let log = node.containerd().log();
    let line = log
        .lines()
        .find(|line| line.contains(why) && line.contains(container.id()))
        .ok_or("nothing in the log")?;
    assert!(line.contains("level=warning"), "{line}");
    Ok(())
}

/// A label of containerd's container, where ctr and nerdctl put what the image says.
fn the_images_own_stop_signal_starts_the_sequence(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": marks("hook")});
    let container = node
        .container("kill")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .create(&words(&server(&["WINCH", "USR1"], &["WINCH"])))?;
    let ctr = node.ctr();
    let label = "io.containerd.image.config.stop-signal=SIGWINCH";
    ctr.run(&["container", "label", container.id(), label])?;
    ctr.run(&["task", "start", "--detach", "--null-io", container.id()])?;
    trace.wait("ready")?;
    container.kill("SIGUSR1")?;
    trace.wait("got-USR1")?;
    // What the client sends where nobody says which.
    ctr.run(&["task", "kill", container.id()])?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    assert_eq!(trace.marks(), ["ready", "got-USR1", "hook", "got-WINCH"]);
    let record = container.wait_end()?;
    assert_eq!(record.result("preStop"), "Succeeded");
    assert_eq!(record.text("/termination/signal"), "SIGWINCH");
    Ok(())
}

fn every_stop_signal_starts_the_sequence(node: &Node) -> Outcome {
    let signals = ["TERM", "INT", "QUIT", "37"];
    together(&signals, |sent| {
        let trace = Trace::new(node)?;
        let lifecycle = json!({"preStop": marks("hook")});
        let container = start(node, &trace, &lifecycle, &server(&signals, &signals))?;
        container.kill(sent)?;
        assert_eq!(container.wait_exit(SOON)?, 7, "{sent}");
        assert_eq!(trace.marks(), ["ready", "hook", &format!("got-{sent}")]);
        let expected = if *sent == "37" {
            "SIGRTMIN+3".to_owned()
        } else {
            format!("SIG{sent}")
        };
        assert_eq!(container.wait_end()?.text("/termination/signal"), expected);
        Ok(())
    })
}

fn no_grace_kills_at_once_without_the_hook(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": marks("hook"), "terminationGracePeriodSeconds": 0});
    let container = start(node, &trace, &lifecycle, &polite())?;
    container.kill("SIGTERM")?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    assert_eq!(trace.marks(), ["ready"]);
    let hook = container.wait_end()?.hook("preStop")?;
    assert_eq!(
        (hook.text("/result"), hook.text("/message")),
        ("Skipped", "the grace period is 0")
    );
    Ok(())
}

fn the_lifecycles_stop_signal_replaces_the_clients(node: &Node) -> Outcome {
    for sent in ["SIGTERM", "SIGUSR2"] {
        let trace = Trace::new(node)?;
        let lifecycle = json!({"preStop": marks("hook"), "stopSignal": "USR2"});
        let container = start(
            node,
            &trace,
            &lifecycle,
            &server(&["TERM", "USR2"], &["TERM", "USR2"]),
        )?;
        container.kill(sent)?;
        assert_eq!(container.wait_exit(SOON)?, 7);
        assert_eq!(trace.marks(), ["ready", "hook", "got-USR2"], "{sent}");
        assert_eq!(container.wait_end()?.text("/termination/signal"), "SIGUSR2");
    }
    Ok(())
}

fn a_hook_that_cannot_run_does_not_delay_the_signal(node: &Node) -> Outcome {
    let hooks = [
        json!({"exec": {"command": ["no-such-program"]}}),
        json!({"exec": {"command": ["sh", "-c", "kill -KILL $$"]}}),
        json!({"httpGet": {"host": "127.0.0.1", "port": 9}}),
        json!({"tcpSocket": {"host": "127.0.0.1", "port": 9}}),
    ];
    together(&hooks, |hook| {
        let mut shortest = Duration::MAX;
        // A busy machine may delay some, but not all.
        for _ in 0..10 {
            let trace = Trace::new(node)?;
            let container = node
                .container("cannot")
                .flag(["--mount", &trace.mount()])
                .lifecycle(&json!({"preStop": hook}).to_string())
                .start(&words(&polite()))?;
            trace.wait("ready")?;
            container.kill("SIGTERM")?;
            assert_eq!(container.wait_exit(SOON)?, 7);
            let record = container.wait_end()?;
            assert_eq!(record.result("preStop"), "Failed");
            let pause = record.between("/hooks/0/finishedAt", "/termination/signalledAt")?;
            shortest = shortest.min(pause);
            if shortest < Duration::from_millis(100) {
                return Ok(());
            }
        }
        Err(format!("{hook}: {shortest:?} from its end to the signal").into())
    })
}

fn a_failing_hook_is_recorded_and_the_signal_is_sent(node: &Node) -> Outcome {
    let table = [
        (
            exec("echo no luck; exit 4"),
            "Failed",
            "exited with status 4",
            Some(4),
        ),
        (
            json!({"exec": {"command": ["no-such-program"]}}),
            "Failed",
            r#"exec: "no-such-program": executable file not found in $PATH"#,
            None,
        ),
        (
            with(exec("exec sleep 600"), json!({"timeoutSeconds": 1})),
            "TimedOut",
            "timed out after 1s (timeoutSeconds)",
            None,
        ),
    ];
    for (hook, result, message, status) in table {
        let trace = Trace::new(node)?;
        let container = start(node, &trace, &json!({"preStop": hook}), &polite())?;
        container.kill("SIGTERM")?;
        assert_eq!(container.wait_exit(SOON)?, 7);
        assert_eq!(trace.marks(), ["ready", "got-TERM"]);
        container.wait_end()?;
        // One that overran may still be dying then.
        let hook = container.wait_hook("preStop")?.hook("preStop")?;
        assert_eq!(
            (hook.text("/result"), hook.number("/exitCode")),
            (result, status),
            "{hook:?}"
        );
        assert!(hook.text("/message").contains(message), "{hook:?}");
    }
    Ok(())
}

fn a_paused_container_gets_the_signal_without_the_hook(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": marks("hook")});
    let container = start(node, &trace, &lifecycle, &polite())?;
    node.ctr().pause(container.id())?;
    container.kill("SIGTERM")?;
    let record = container.recorded()?;
    let hook = record.hook("preStop")?;
    assert_eq!(
        (hook.text("/result"), hook.text("/message")),
        ("Skipped", "the container is paused")
    );
    assert_eq!(
        (record.phase(), container.status()?),
        ("Signalled", "PAUSED".to_owned())
    );
    // It ends at once, and systemd removes the cgroup: runc, which looks at it again, may call that an error.
    node.ctr().try_run(&["task", "resume", container.id()])?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    assert_eq!(trace.marks(), ["ready", "got-TERM"]);
    Ok(())
}

fn the_hook_does_not_run_for_a_container_that_ends_by_itself(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": marks("hook")});
    let container = node
        .container("own-end")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&["sh", "-c", "exit 5"])?;
    assert_eq!(container.wait_exit(SOON)?, 5);
    let record = container.wait_end()?;
    assert_eq!(
        (record.phase(), record.number("/termination/exitStatus")),
        ("Stopped", Some(5))
    );
    assert!(record.runs("preStop").is_empty() && trace.marks().is_empty());
    assert_eq!(record.text("/termination/requestedAt"), "");
    Ok(())
}

fn a_signal_to_an_exec_starts_nothing(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": marks("hook")});
    let container = start(node, &trace, &lifecycle, &polite())?;
    let ctr = node.ctr();
    let exec = [
        "task",
        "exec",
        "-d",
        "--exec-id",
        "one",
        "--log-uri",
        "file:///dev/null",
    ];
    ctr.run(&[&exec[..], &[container.id(), "sleep", "600"]].concat())?;
    ctr.run(&[
        "task",
        "kill",
        "-s",
        "SIGTERM",
        "--exec-id",
        "one",
        container.id(),
    ])?;
    let exit = node.events().wait(container.id(), "exit", SOON)?;
    assert_eq!((exit.process_id(), exit.exit_status()), ("one", 143));
    assert_eq!(
        (container.status()?, trace.has("hook")),
        ("RUNNING".to_owned(), false)
    );
    assert_eq!(container.recorded()?.phase(), "Running");
    Ok(())
}
