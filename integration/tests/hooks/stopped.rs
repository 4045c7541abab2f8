//! A shim, and a containerd, that stand still for longer than a deadline, as under SIGSTOP, in a frozen cgroup or on a
//! machine that slept: what ended meanwhile has ended in time, what did not is too late.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::node::Container;
use podhook_integration::suite::{Test, own_containerd};
use podhook_integration::trace::{Trace, mark};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::Recorded;
use crate::script::{
    Error, after, anywhere, exec, held, own_sleep, polite, sh, together, with, words,
};

pub fn tests() -> Vec<Test> {
    // What lists a containerd's tasks waits for a shim that stands still.
    own_containerd(tests![stopped:
        a_post_start_that_ended_meanwhile_has_not_timed_out,
        a_pre_stop_that_ended_meanwhile_has_not_timed_out,
        a_hook_that_takes_too_long_is_ended_by_a_shim_that_stood_still,
        a_process_that_ended_within_its_grace_period_was_not_killed,
        a_process_that_outlives_its_grace_period_is_killed_by_a_shim_that_stood_still,
        a_containerd_that_stood_still_loses_no_exit,
    ])
}

/// A process that stands still, until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn process(pid: i32) -> Result<Self, Error> {
        let pid = Pid::from_raw(pid);
        kill(pid, Signal::SIGSTOP)?;
        let stopped = Self(pid);
        wait::until_true("the process to stand still", SOON, || {
            stat(pid.as_raw()).is_some_and(|(state, _)| state == "T")
        })?;
        Ok(stopped)
    }

    /// The shim of a container: the parent of its init.
    fn shim_of(container: &Container<'_>) -> Result<Self, Error> {
        Self::process(parent(container)?)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// The pid of init, of which nobody has to be asked.
fn init(container: &Container<'_>) -> Result<i32, Error> {
    let text = fs::read_to_string(container.bundle().join("init.pid"))?;
    Ok(text.trim().parse()?)
}

/// The shim of a container.
fn parent(container: &Container<'_>) -> Result<i32, Error> {
    let (_, parent) = stat(init(container)?).ok_or("no init")?;
    Ok(parent)
}

/// Waits until a process has nothing to do, each of some times that it is looked at.
fn at_rest(pid: i32) -> Outcome {
    Ok(wait::until_true("the process to rest", SOON, || {
        (0..5).all(|_| {
            thread::sleep(Duration::from_millis(10));
            stat(pid).is_some_and(|(state, _)| state == "S")
        })
    })?)
}

/// The state of a process, and its parent.
fn stat(pid: i32) -> Option<(String, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// Of the hooks here, s. Whoever stops the shim within it is quick enough.
const TIMEOUT: u64 = 15;

/// Longer than that.
fn beyond_the_timeout() {
    thread::sleep(Duration::from_secs(TIMEOUT + 1));
}

/// A web server that has a request, and answers it when it is told to.
struct Server {
    port: u16,
    asked: mpsc::Receiver<()>,
    answer: mpsc::Sender<()>,
}

impl Server {
    fn start() -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (ask, asked) = mpsc::channel();
        let (answer, answers) = mpsc::channel::<()>();
        thread::spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            let _ = stream.read(&mut [0; 4096])?;
            let _ = ask.send(());
            let _ = answers.recv();
            let body = "x".repeat(3000);
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n{body}"
            )
        });
        Ok(Self {
            port,
            asked,
            answer,
        })
    }
}

/// A kind of hook that ends when it is told to, or after a time.
fn hook(kind: &str, trace: &Trace, server: &Server) -> Result<Value, Error> {
    let hook = match kind {
        "exec" => held(trace, "hook")?,
        "httpGet" => json!({"httpGet": {"host": "127.0.0.1", "port": server.port}}),
        _ => json!({"sleep": {"seconds": TIMEOUT - 1}}),
    };
    Ok(with(hook, json!({"timeoutSeconds": TIMEOUT})))
}

/// The hook runs: the shim stands still until it has ended and its deadline is over.
fn stand_still(kind: &str, container: &Container<'_>, trace: &Trace, server: &Server) -> Outcome {
    match kind {
        "exec" => trace.wait("hook-begin")?,
        "httpGet" => server.asked.recv_timeout(wait::scaled(SOON))?,
        // Its record has it before its timer begins.
        _ => at_rest(parent(container)?)?,
    }
    let stopped = Stopped::shim_of(container)?;
    match kind {
        "exec" => {
            trace.release("hook")?;
            trace.wait("hook-end")?;
        }
        "httpGet" => server.answer.send(())?,
        _ => {}
    }
    beyond_the_timeout();
    drop(stopped);
    Ok(())
}

const KINDS: [&str; 3] = ["exec", "httpGet", "sleep"];

fn a_post_start_that_ended_meanwhile_has_not_timed_out(node: &Node) -> Outcome {
    together(&KINDS, |kind| {
        let (trace, server) = (Trace::new(node)?, Server::start()?);
        let lifecycle = json!({"postStart": hook(kind, &trace, &server)?});
        let (container, starting) = node
            .container(&kind.to_lowercase())
            .flag(["--net-host"])
            .flag(["--mount", &trace.mount()])
            .lifecycle(&lifecycle.to_string())
            .start_behind(&words(&polite()))?;
        trace.wait("ready")?;
        container.wait_record("the hook to run", SOON, |record| {
            !record.runs("postStart").is_empty()
        })?;
        stand_still(kind, &container, &trace, &server)?;
        starting.join().map_err(|_| "ctr panicked")??.success()?;
        assert_eq!(
            container.recorded()?.result("postStart"),
            "Succeeded",
            "{kind}"
        );
        assert_eq!(container.status()?, "RUNNING");
        Ok(())
    })
}

fn a_pre_stop_that_ended_meanwhile_has_not_timed_out(node: &Node) -> Outcome {
    together(&KINDS, |kind| {
        let (trace, server) = (Trace::new(node)?, Server::start()?);
        let lifecycle = json!({"preStop": hook(kind, &trace, &server)?});
        let container = node
            .container(&kind.to_lowercase())
            .flag(["--net-host"])
            .flag(["--mount", &trace.mount()])
            .lifecycle(&lifecycle.to_string())
            .start(&words(&polite()))?;
        trace.wait("ready")?;
        container.kill("SIGTERM")?;
        stand_still(kind, &container, &trace, &server)?;
        assert_eq!(container.wait_exit(SOON)?, 7, "{kind}");
        assert_eq!(
            container.wait_end()?.result("preStop"),
            "Succeeded",
            "{kind}"
        );
        Ok(())
    })
}

fn a_hook_that_takes_too_long_is_ended_by_a_shim_that_stood_still(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let sleep = own_sleep();
    let script = format!("{}; exec {sleep}", mark("begun"));
    let post = with(
        exec(&script),
        json!({"timeoutSeconds": TIMEOUT, "onFailure": "Ignore"}),
    );
    let (container, starting) = node
        .container("long")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&json!({"postStart": post}).to_string())
        .start_behind(&words(&polite()))?;
    trace.wait("begun")?;
    let stopped = Stopped::shim_of(&container)?;
    beyond_the_timeout();
    assert_eq!(anywhere(&sleep), 1);
    drop(stopped);
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    let run = container.recorded()?.hook("postStart")?;
    assert_eq!(run.text("/result"), "TimedOut");
    let took = run.json()["durationMs"].as_f64().unwrap_or_default();
    assert!(took >= 1000.0 * TIMEOUT as f64, "{run:?}");
    wait::until_true("the end of the hook", SOON, || anywhere(&sleep) == 0)?;
    Ok(())
}

/// G, s.
const GRACE: u64 = 8;

fn stopping<'a>(node: &'a Node, trace: &Trace, script: &str) -> Result<Container<'a>, Error> {
    let lifecycle = json!({"terminationGracePeriodSeconds": GRACE});
    let container = node
        .container("grace")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&sh(script)))?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    trace.wait("got-TERM")?;
    Ok(container)
}

fn a_process_that_ended_within_its_grace_period_was_not_killed(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let script = format!(
        "trap '{}; {}; exit 7' TERM; {}; while :; do usleep 20000; done",
        mark("got-TERM"),
        after("go"),
        mark("ready")
    );
    let container = stopping(node, &trace, &script)?;
    let init = init(&container)?;
    let stopped = Stopped::shim_of(&container)?;
    fs::write(trace.dir().join("go"), "")?;
    wait::until_true("the end of the process", SOON, || {
        stat(init).is_some_and(|(state, _)| state == "Z")
    })?;
    thread::sleep(Duration::from_secs(GRACE + 1));
    drop(stopped);
    assert_eq!(container.wait_exit(SOON)?, 7);
    let record = container.wait_end()?;
    assert_eq!(record.text("/termination/killedAt"), "", "{record:?}");
    Ok(())
}

fn a_process_that_outlives_its_grace_period_is_killed_by_a_shim_that_stood_still(
    node: &Node,
) -> Outcome {
    let trace = Trace::new(node)?;
    let script = format!(
        "trap '{}' TERM; {}; while :; do usleep 20000; done",
        mark("got-TERM"),
        mark("ready")
    );
    let container = stopping(node, &trace, &script)?;
    let stopped = Stopped::shim_of(&container)?;
    thread::sleep(Duration::from_secs(GRACE + 1));
    drop(stopped);
    assert_eq!(container.wait_exit(SOON)?, 137);
    let record = container.wait_end()?;
    let window = record.between("/termination/requestedAt", "/termination/killedAt")?;
    assert!(window >= Duration::from_secs(GRACE), "{record:?}");
    Ok(())
}

/// Longer than the shim waits for containerd to take an event.
const BEYOND_AN_EVENT: Duration = Duration::from_secs(7);

fn a_containerd_that_stood_still_loses_no_exit(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let script = format!("{}; {}; exit 5", mark("ready"), after("go"));
    let lifecycle = json!({"preStop": {"sleep": {"seconds": 1}}});
    let container = node
        .container("frozen")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&sh(&script)))?;
    trace.wait("ready")?;
    let pid = node.containerd().pid().ok_or("no containerd")?;
    let stopped = Stopped::process(i32::try_from(pid)?)?;
    fs::write(trace.dir().join("go"), "")?;
    container.wait_end()?;
    thread::sleep(BEYOND_AN_EVENT);
    drop(stopped);
    assert_eq!(container.wait_exit(SOON)?, 5);
    assert_eq!(container.status()?, "STOPPED");
    assert_eq!(container.delete()?, 5);
    Ok(())
}
