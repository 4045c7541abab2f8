//! The shell scripts that the containers and hooks of these tests run, and lifecycles as JSON.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, thread};

use podhook_integration::node::{Pod, PodContainer};
use podhook_integration::trace::{Trace, mark};
use podhook_integration::{Node, Outcome, cri, wait};
use serde_json::{Value, json};

pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A command line.
pub type Command = [String; 3];

/// `sh -c SCRIPT` as a command line.
pub fn sh(script: &str) -> Command {
    ["sh".to_owned(), "-c".to_owned(), script.to_owned()]
}

/// The words of a command line.
pub fn words(command: &Command) -> [&str; 3] {
    [&command[0], &command[1], &command[2]]
}

/// `sh -c SCRIPT` as a hook.
pub fn exec(script: &str) -> Value {
    json!({"exec": {"command": sh(script)}})
}

/// A hook that leaves the mark `name`.
pub fn marks(name: &str) -> Value {
    exec(&mark(name))
}

/// A hook that leaves the mark `NAME-begin`, waits to be released and leaves `NAME-end`.
pub fn held(trace: &Trace, name: &str) -> Result<Value, Error> {
    Ok(exec(&trace.hold(name)?))
}

/// A shell command that waits for a mark. It holds no quotes.
pub fn after(name: &str) -> String {
    format!("while [ ! -e /trace/{name} ]; do usleep 20000; done")
}

/// The hook with more fields.
pub fn with(mut hook: Value, fields: Value) -> Value {
    if let (Some(hook), Value::Object(fields)) = (hook.as_object_mut(), fields) {
        hook.extend(fields);
    }
    hook
}

/// A server: leaves `ready`, and on each signal in `on` (`TERM`, …) the mark `got-SIGNAL`; ends with
/// status 7 on those in `until`.
pub fn server(on: &[&str], until: &[&str]) -> Command {
    let mut script = String::new();
    for signal in on {
        let end = if until.contains(signal) {
            "; exit 7"
        } else {
            ""
        };
        script += &format!("trap '{}{end}' {signal}; ", mark(&format!("got-{signal}")));
    }
    sh(&format!(
        "{script}{}; while :; do sleep 600 & wait $!; done",
        mark("ready")
    ))
}

/// A server that ends on SIGTERM, with status 7.
pub fn polite() -> Command {
    server(&["TERM"], &["TERM"])
}

/// A server that notes SIGTERM and goes on.
pub fn stubborn() -> Command {
    server(&["TERM"], &[])
}

/// The command lines of the processes in a container's cgroups, of ctr's as of CRI's.
pub fn processes(node: &Node, id: &str) -> Vec<String> {
    let cgroups = node.containerd().cgroups(id);
    let mut pids: Vec<_> = cgroups
        .iter()
        .filter_map(|cgroup| fs::read_to_string(cgroup.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    pids.sort();
    pids.dedup();
    let line = |pid: &String| {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
        Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
    };
    pids.iter().filter_map(line).collect()
}

/// The command line of a long sleep that no other test has, nor another run of this one.
pub fn own_sleep() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(10);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("sleep 1{}{count:02}", std::process::id())
}

/// Every process of the node with exactly this command line.
pub fn anywhere(line: &str) -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .filter(|bytes| {
            String::from_utf8_lossy(bytes)
                .trim_end_matches('\0')
                .replace('\0', " ")
                == line
        })
        .count()
}

/// Waits until a container's processes have none with this command line.
pub fn wait_gone(node: &Node, id: &str, line: &str) -> Outcome {
    let gone = || !processes(node, id).iter().any(|found| found == line);
    Ok(wait::until_true(
        &format!("the end of {line:?} in {id}"),
        wait::SOON,
        gone,
    )?)
}

/// Waits until a container's processes have one with each of these command lines.
pub fn wait_processes(node: &Node, id: &str, lines: &[&str]) -> Outcome {
    let all_there = || {
        let found = processes(node, id);
        lines
            .iter()
            .all(|line| found.iter().any(|found| found == line))
    };
    Ok(wait::until_true(
        &format!("{lines:?} in {id}"),
        wait::SOON,
        all_there,
    )?)
}

/// Checks each item in a thread of its own.
pub fn together<T: Sync>(items: &[T], check: impl Fn(&T) -> Outcome + Sync) -> Outcome {
    thread::scope(|scope| {
        let check = &check;
        let runs: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(move || check(item)))
            .collect();
        // All of them: the scope has no words for a panic of one that is not joined.
        let outcomes: Vec<_> = runs.into_iter().map(|run| joined(run.join())).collect();
        outcomes.into_iter().collect()
    })
}

/// The outcome of a thread; its panic is an error with the panic's message.
pub fn joined(result: thread::Result<Outcome>) -> Outcome {
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(text.unwrap_or_default().into())
    })
}

/// Starts a container whose hook hangs, with a deadline. On a machine that is too busy the answer comes after it: then
/// another one is started.
pub fn start_until_deadline<'a>(
    pod: &'a Pod<'_>,
    trace: &Trace,
) -> Result<(PodContainer<'a>, cri::Error), Error> {
    for _ in 0..5 {
        let container = pod
            .container("main")
            .host_path(trace.dir(), "/trace")
            .command(&words(&polite()))
            .create()?;
        let started = container.start_within(Duration::from_secs(20));
        let error = started.err().ok_or("it started")?;
        if !error.is_deadline() {
            return Ok((container, error));
        }
        container.remove()?;
    }
    Err("no answer before the deadline, five times".into())
}
