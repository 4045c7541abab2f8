//! A container that has reached its limit of processes: the engine needs the one of the command, and none of its own.

mod support;

use std::fs;
use std::future::pending;
use std::time::Duration;

use podhook_hooks::exec::{Stdio, spawn};
use podhook_hooks::handler::{HookRun, Outcome, exec};
use serde_json::json;

use support::bundle::TestContainer;
use support::{Config, children, dev_null, eventually, strings};

/// As many execs of a kind as a test makes.
const TRIES: usize = 10;

/// A container with this limit of which `used` are in use.
async fn with_processes(config: Config, limit: u64, used: usize) -> TestContainer {
    let script = format!(
        "n=1; while [ $n -lt {used} ]; do sleep 100000 & n=$((n+1)); done; exec sleep 100000"
    );
    let container = config
        .set("/linux/resources", json!({"pids": {"limit": limit}}))
        .args(&["/bin/sh", "-c", &script])
        .start();
    eventually("all are there", || {
        let processes = container.processes();
        processes.len() == used && processes.iter().all(|name| name == "sleep")
    })
    .await;
    container
}

/// How often the kernel refused a fork for the container's limit.
fn refusals(container: &TestContainer) -> u64 {
    let events = container.controller("pids", "pids.events", "pids.events");
    let events = fs::read_to_string(events).unwrap();
    events.trim().strip_prefix("max ").unwrap().parse().unwrap()
}

async fn hook(container: &TestContainer, command: &[&str]) -> HookRun {
    exec::run(
        &container.container,
        &strings(command),
        &children(),
        pending(),
        None,
    )
    .await
}

/// Execs and hooks that need one process, all of which must run.
async fn all_run(container: &TestContainer) {
    for _ in 0..TRIES {
        let ran = container.engine_exec(&["echo", "hello"]).await;
        assert_eq!(ran.unwrap().ok().stdout, "hello\n");
        let result = hook(container, &["echo", "hello"]).await;
        assert_eq!(result.outcome, Outcome::Succeeded, "{result:?}");
        assert_eq!(result.output, b"hello\n");
    }
    assert_eq!(refusals(container), 0, "a fork was refused meanwhile");
    assert!(container.leaves().is_empty());
}

/// More than runc can promise: a thread of Go's counts as well, where it comes before the command does.
#[tokio::test]
async fn one_free_process_is_enough() {
    let container = with_processes(Config::default(), 13, 12).await;
    all_run(&container).await;
}

#[tokio::test]
async fn a_container_without_a_free_process_takes_an_exec_and_a_hook() {
    let container = with_processes(Config::default(), 12, 12).await;
    all_run(&container).await;
    // Which the command is within, as runc's is: nothing more can be forked.
    let ran = container.engine_exec(&["sh", "-c", "(true); true"]).await;
    assert_ne!(ran.unwrap().exit.code(), Some(0));
    assert!(refusals(&container) > 0);
}

/// The kubelet's podPidsLimit is the pod's.
#[tokio::test]
async fn the_limit_of_a_cgroup_above_counts_as_well() {
    let container = with_processes(Config::default(), 100, 12).await;
    let own = container.controller("pids", "pids.max", "pids.max");
    // As if the container's were the one above: the hooks' leaves are below it.
    fs::write(&own, "12").unwrap();
    all_run(&container).await;
}

#[tokio::test]
async fn the_command_is_in_every_cgroup_of_the_container() {
    let container = with_processes(Config::default(), 12, 12).await;
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid)).unwrap();
    let ran = container.engine_exec(&["cat", "/proc/self/cgroup"]).await;
    assert_eq!(ran.unwrap().ok().stdout, own);
    let ran = hook(&container, &["cat", "/proc/self/cgroup"]).await;
    let output = String::from_utf8(ran.output).unwrap();
    let (hook, own): (Vec<_>, Vec<_>) = (output.lines().collect(), own.lines().collect());
    let leaf = |line: &str, own: &str| {
        line.strip_prefix(own)
            .is_some_and(|rest| rest.starts_with("/podhook-"))
    };
    let leaves = hook
        .iter()
        .zip(&own)
        .filter(|(hook, own)| leaf(hook, own))
        .count();
    let same = hook
        .iter()
        .zip(&own)
        .filter(|(hook, own)| hook == own)
        .count();
    assert_eq!((leaves, leaves + same), (1, own.len()), "{output}");
}

#[tokio::test]
async fn an_abort_finds_the_hook_of_a_full_container() {
    let container = with_processes(Config::default(), 12, 12).await;
    let command = strings(&["sleep", "1000"]);
    let abort = tokio::time::sleep(Duration::from_millis(500));
    let result = exec::run(&container.container, &command, &children(), abort, None).await;
    assert_eq!(result.outcome, Outcome::Aborted);
    assert_eq!(result.signal, Some(libc::SIGKILL));
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
    assert_eq!(container.processes().len(), 12);
}

/// With the soft limit of processes of this process lowered, which the runtime passes on: as a daemon's is that was
/// started with one. Root's own processes are not limited; the user's are this container's only.
fn inheriting_a_limit(limit: u64, user: u32) -> Config {
    let mut own = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a valid place to write to, then to read from.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NPROC, &mut own), 0);
        own.rlim_cur = limit;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NPROC, &own), 0);
    }
    Config::default().set("/process/user", json!({"uid": user, "gid": user}))
}

#[tokio::test]
async fn one_free_process_of_the_user_is_enough() {
    let container = with_processes(inheriting_a_limit(13, 54_321), 1000, 12).await;
    let limit = container.engine_exec(&["grep", "processes", "/proc/self/limits"]);
    let limit = limit.await.unwrap().ok().stdout;
    assert_eq!(
        limit.split_whitespace().nth(2),
        Some("13"),
        "it is inherited"
    );
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid)).unwrap();
    for _ in 0..TRIES {
        assert_eq!(container.runc_exec(&["id", "-u"]).ok().stdout, "54321\n");
        let ran = container.engine_exec(&["id", "-u"]).await;
        assert_eq!(ran.unwrap().ok().stdout, "54321\n");
        let ran = container.engine_exec(&["cat", "/proc/self/cgroup"]).await;
        assert_eq!(ran.unwrap().ok().stdout, own);
        let result = hook(&container, &["echo", "hello"]).await;
        assert_eq!(result.outcome, Outcome::Succeeded, "{result:?}");
    }
}

/// As from runc, with whose words the error begins.
#[tokio::test]
async fn a_user_beyond_its_limit_gets_no_process_and_the_limits_name() {
    let container = with_processes(inheriting_a_limit(13, 54_322), 1000, 13).await;
    // setuid(2) looks at those that there are already: one more than the limit is let through.
    let process = container.container.process().clone();
    let process = process.args(&strings(&["sleep", "100000"]));
    let stdio = Stdio {
        stdin: dev_null(),
        stdout: dev_null(),
        stderr: dev_null(),
    };
    let children = children();
    let one_more = spawn(&container.container, &process, stdio, false, &children);
    let one_more = one_more.await.unwrap();
    let words = "exec /bin/id: resource temporarily unavailable";
    let runc = container.runc_exec(&["/bin/id", "-u"]);
    assert!(runc.stderr.contains(words), "{runc:?}");
    let named = format!("{words} (the user's RLIMIT_NPROC is 13)");
    let error = container.engine_exec(&["/bin/id", "-u"]).await.unwrap_err();
    assert_eq!(error.to_string(), named);
    let result = hook(&container, &["/bin/id", "-u"]).await;
    assert_eq!(result.outcome, Outcome::Failed(named));
    assert!(container.leaves().is_empty());
    one_more.signal(libc::SIGKILL).unwrap();
}
