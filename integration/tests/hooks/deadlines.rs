//! What ends a hook of any kind, and how the record and the error name it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use podhook_integration::node::{Container, ContainerBuilder};
use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::{Record, Recorded};
use crate::script::{Error, after, exec, polite, sh, together, with, words};

pub fn tests() -> Vec<Test> {
    tests![deadlines:
        timeout_seconds_ends_a_hook_of_any_kind,
        a_timeout_that_is_ignored_starts_the_container_all_the_same,
        a_failure_of_any_kind_can_be_ignored,
        the_end_of_the_process_aborts_a_post_start_of_any_kind,
        a_stop_signal_aborts_a_post_start_of_any_kind,
        timeout_seconds_ends_a_pre_stop_of_any_kind_and_the_signal_follows,
        the_end_of_the_process_aborts_a_pre_stop_of_any_kind,
        no_pre_stop_of_any_kind_runs_in_a_paused_container,
        the_end_of_the_grace_period_ends_a_pre_stop_of_any_kind,
    ]
}

/// Servers that keep a hook waiting; containers with the node's network reach them.
struct Servers {
    /// Takes a connection and says nothing.
    silent: TcpListener,
    /// Takes no connection any more: its queue is full.
    full: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Servers {
    fn start() -> Result<Self, Error> {
        let silent = TcpListener::bind("127.0.0.1:0")?;
        let full = TcpListener::bind("127.0.0.1:0")?;
        let address = full.local_addr()?;
        let mut queue = Vec::new();
        // std's backlog is 128; what comes beyond waits for a place that never gets free.
        let one =
            |address: &SocketAddr| TcpStream::connect_timeout(address, Duration::from_millis(300));
        loop {
            match one(&address) {
                Ok(stream) => queue.push(stream),
                Err(_) if queue.len() > 128 => break,
                // A busy machine.
                Err(_) => {}
            }
            assert!(queue.len() < 10_000, "a queue without an end");
        }
        Ok(Self {
            silent,
            full,
            _queue: queue,
        })
    }

    /// A hook of each kind that does not end.
    fn endless(&self) -> Result<[(&'static str, Value); 4], Error> {
        let (silent, full) = (
            self.silent.local_addr()?.port(),
            self.full.local_addr()?.port(),
        );
        Ok([
            ("exec", exec("exec sleep 600")),
            (
                "httpGet",
                json!({"httpGet": {"host": "127.0.0.1", "port": silent}}),
            ),
            (
                "tcpSocket",
                json!({"tcpSocket": {"host": "127.0.0.1", "port": full}}),
            ),
            ("sleep", json!({"sleep": {"seconds": 600}})),
        ])
    }
}

fn builder<'a>(
    node: &'a Node,
    kind: &str,
    trace: &Trace,
    lifecycle: &Value,
) -> ContainerBuilder<'a> {
    node.container(&kind.to_lowercase())
        .flag(["--net-host"])
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
}

fn started<'a>(
    node: &'a Node,
    kind: &str,
    trace: &Trace,
    lifecycle: &Value,
) -> Result<Container<'a>, Error> {
    let container = builder(node, kind, trace, lifecycle).start(&words(&polite()))?;
    trace.wait("ready")?;
    Ok(container)
}

fn check(record: &Record, hook: &str, kind: &str, result: &str, message: &str) -> Outcome {
    let hook = record.hook(hook)?;
    assert_eq!(
        (
            hook.text("/handler"),
            hook.text("/result"),
            hook.text("/message")
        ),
        (kind, result, message)
    );
    Ok(())
}

const TIMED_OUT: &str = "timed out after 1s (timeoutSeconds)";
const ENDED: &str = "aborted: the container's process ended";

fn timeout_seconds_ends_a_hook_of_any_kind(node: &Node) -> Outcome {
    let servers = Servers::start()?;
    together(&servers.endless()?, |(kind, hook)| {
        let trace = Trace::new(node)?;
        let hook = with(hook.clone(), json!({"timeoutSeconds": 1}));
        let lifecycle = json!({"postStart": hook, "terminationGracePeriodSeconds": 0});
        let (container, output) =
            builder(node, kind, &trace, &lifecycle).try_start(&["sleep", "600"])?;
        let text = &output.stderr;
        assert!(
            text.contains(&format!("FailedPostStartHook: {kind} ")),
            "{text}"
        );
        assert!(text.contains(&format!(": {TIMED_OUT}")), "{text}");
        assert_eq!(container.wait_exit(SOON)?, 137);
        check(
            &container.wait_hook("postStart")?,
            "postStart",
            kind,
            "TimedOut",
            TIMED_OUT,
        )
    })
}

fn a_timeout_that_is_ignored_starts_the_container_all_the_same(node: &Node) -> Outcome {
    let servers = Servers::start()?;
    together(&servers.endless()?, |(kind, hook)| {
        let trace = Trace::new(node)?;
        let fields = json!({"timeoutSeconds": 1, "onFailure": "Ignore"});
        let lifecycle = json!({"postStart": with(hook.clone(), fields)});
        let container = started(node, kind, &trace, &lifecycle)?;
        assert_eq!(container.status()?, "RUNNING");
        check(
            &container.wait_hook("postStart")?,
            "postStart",
            kind,
            "TimedOut",
            TIMED_OUT,
        )
    })
}

fn a_failure_of_any_kind_can_be_ignored(node: &Node) -> Outcome {
    // Nobody listens there, nor can in the meantime: it is a connection's own end.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let connection = TcpStream::connect(listener.local_addr()?)?;
    let port = connection.local_addr()?.port();
    let hooks = [
        ("exec", exec("exit 3"), "exited with status 3"),
        (
            "httpGet",
            json!({"httpGet": {"host": "127.0.0.1", "port": port}}),
            "connection refused",
        ),
        (
            "tcpSocket",
            json!({"tcpSocket": {"host": "127.0.0.1", "port": port}}),
            "connection refused",
        ),
    ];
    together(&hooks, |(kind, hook, message)| {
        let trace = Trace::new(node)?;
        let ignored = with(hook.clone(), json!({"onFailure": "Ignore"}));
        let container = started(node, kind, &trace, &json!({"postStart": ignored}))?;
        assert_eq!(container.status()?, "RUNNING");
        let run = container.wait_hook("postStart")?.hook("postStart")?;
        assert_eq!(run.text("/result"), "Failed");
        assert!(run.text("/message").ends_with(message), "{run:?}");
        // And without that it ends the container.
        let lifecycle = json!({"postStart": hook, "terminationGracePeriodSeconds": 0});
        let (_failed, output) =
            builder(node, kind, &trace, &lifecycle).try_start(&["sleep", "600"])?;
        let text = &output.stderr;
        assert!(
            text.contains(&format!("FailedPostStartHook: {kind} ")),
            "{text}"
        );
        assert!(text.contains(message), "{text}");
        Ok(())
    })
}

fn the_end_of_the_process_aborts_a_post_start_of_any_kind(node: &Node) -> Outcome {
    let servers = Servers::start()?;
    together(&servers.endless()?, |(kind, hook)| {
        let trace = Trace::new(node)?;
        let script = format!("{}; exit 5", after("go"));
        let (container, starting) = builder(node, kind, &trace, &json!({"postStart": hook}))
            .start_behind(&words(&sh(&script)))?;
        container.wait_record("the hook to run", SOON, |record| {
            !record.runs("postStart").is_empty()
        })?;
        std::fs::write(trace.dir().join("go"), "")?;
        starting.join().map_err(|_| "ctr panicked")??.success()?;
        assert_eq!(container.wait_exit(SOON)?, 5);
        container.has_events(["create", "start", "exit"]);
        check(
            &container.wait_hook("postStart")?,
            "postStart",
            kind,
            "Aborted",
            ENDED,
        )
    })
}

fn a_stop_signal_aborts_a_post_start_of_any_kind(node: &Node) -> Outcome {
    let servers = Servers::start()?;
    together(&servers.endless()?, |(kind, hook)| {
        let trace = Trace::new(node)?;
        let (container, starting) = builder(node, kind, &trace, &json!({"postStart": hook}))
            .start_behind(&words(&polite()))?;
        trace.wait("ready")?;
        container.wait_record("the hook to run", SOON, |record| {
            !record.runs("postStart").is_empty()
        })?;
        container.kill("SIGTERM")?;
        let output = starting.join().map_err(|_| "ctr panicked")??;
        assert!(
            output.stderr.contains(": aborted by SIGTERM"),
            "{}",
            output.stderr
        );
        assert_eq!(container.wait_exit(SOON)?, 7);
        let record = container.wait_hook("postStart")?;
        check(&record, "postStart", kind, "Aborted", "aborted by SIGTERM")
    })
}

fn timeout_seconds_ends_a_pre_stop_of_any_kind_and_the_signal_follows(node: &Node) -> Outcome {
    let servers = Servers::start()?;
    together(&servers.endless()?, |(kind, hook)| {
        let trace = Trace::new(node)?;
        let hook = with(hook.clone(), json!({"timeoutSeconds": 1}));
        let container = started(node, kind, &trace, &json!({"preStop": hook}))?;
        container.kill("SIGTERM")?;
        assert_eq!(container.wait_exit(SOON)?, 7);
        let record = container.wait_hook("preStop")?;
        check(&record, "preStop", kind, "TimedOut", TIMED_OUT)?;
        let window = record.between("/termination/requestedAt", "/termination/signalledAt")?;
        assert!(window >= Duration::from_secs(1), "{window:?}");
        Ok(())
    })
}

fn the_end_of_the_process_aborts_a_pre_stop_of_any_kind(node: &Node) -> Outcome {
    let servers = Servers::start()?;
    together(&servers.endless()?, |(kind, hook)| {
        let trace = Trace::new(node)?;
        let script = format!("{}; exit 5", after("go"));
        let container =
            builder(node, kind, &trace, &json!({"preStop": hook})).start(&words(&sh(&script)))?;
        container.kill("SIGTERM")?;
        std::fs::write(trace.dir().join("go"), "")?;
        assert_eq!(container.wait_exit(SOON)?, 5);
        check(
            &container.wait_hook("preStop")?,
            "preStop",
            kind,
            "Aborted",
            ENDED,
        )
    })
}

fn no_pre_stop_of_any_kind_runs_in_a_paused_container(node: &Node) -> Outcome {
    let servers = Servers::start()?;
    together(&servers.endless()?, |(kind, hook)| {
        let trace = Trace::new(node)?;
        let container = started(node, kind, &trace, &json!({"preStop": hook}))?;
        node.ctr().pause(container.id())?;
        container.kill("SIGTERM")?;
        node.ctr().run(&["task", "resume", container.id()])?;
        assert_eq!(container.wait_exit(SOON)?, 7);
        let record = container.wait_end()?;
        check(
            &record,
            "preStop",
            kind,
            "Skipped",
            "the container is paused",
        )
    })
}

fn the_end_of_the_grace_period_ends_a_pre_stop_of_any_kind(node: &Node) -> Outcome {
    let servers = Servers::start()?;
    together(&servers.endless()?, |(kind, hook)| {
        let trace = Trace::new(node)?;
        let lifecycle = json!({"preStop": hook, "terminationGracePeriodSeconds": 4});
        let container = started(node, kind, &trace, &lifecycle)?;
        container.kill("SIGTERM")?;
        assert_eq!(container.wait_exit(SOON)?, 7);
        let message = "timed out after 2s (grace period less the time for the stop signal: \
                       terminationGracePeriodSeconds)";
        check(
            &container.wait_hook("preStop")?,
            "preStop",
            kind,
            "TimedOut",
            message,
        )
    })
}
