//! Ten thousand execs leave nothing behind, two hundred at once do not get mixed up, and when the container ends
//! amid them each is told how.

mod support;

use std::fs;
use std::future::pending;
use std::time::Duration;

use podhook_hooks::exec::{Child, Error, Exit, Process, Stdio, spawn};
use podhook_hooks::handler::{Outcome, exec};

use support::bundle::TestContainer;
use support::{Config, children, dev_null, eventually, in_time, strings};

/// What is counted is the test process's own: one test at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What this process holds.
#[derive(Debug)]
struct Held {
    files: usize,
    threads: usize,
    children: String,
}

impl Held {
    fn now() -> Self {
        let count = |folder: &str| fs::read_dir(folder).unwrap().count();
        let mut children = String::new();
        for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
            children += &fs::read_to_string(task.path().join("children")).unwrap_or_default();
        }
        Self {
            files: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            children,
        }
    }
}

/// Waits until no more is held than `before`.
async fn as_before(before: &Held) {
    let what = format!("as before: {before:?}");
    eventually(&what, || {
        let now = Held::now();
        // A test that ended meanwhile has taken its thread along, and a container its init.
        now.files <= before.files
            && now.threads <= before.threads
            && now.children.len() <= before.children.len()
    })
    .await;
}

/// KiB of memory that only this process has.
fn memory() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

async fn start(container: &TestContainer, command: &[&str]) -> Result<Child, Error> {
    let process = Process::of_container(&container.spec).args(&strings(command));
    let stdio = Stdio {
        stdin: dev_null(),
        stdout: dev_null(),
        stderr: dev_null(),
    };
    spawn(&container.container, &process, stdio, false, &children()).await
}

async fn exit(container: &TestContainer, command: &[&str]) -> Exit {
    let child = start(container, command).await.unwrap();
    child.exit.await.unwrap()
}

#[tokio::test]
async fn ten_thousand_execs_leave_nothing() {
    let _alone = ALONE.lock().await;
    let container = Config::default().start();
    let run = async |count: i32| {
        for number in 0..count {
            let status = number % 256;
            let script = format!("exit {status}");
            let exit = exit(&container, &["/bin/sh", "-c", &script]).await;
            assert_eq!(exit.code(), Some(status), "{number}");
        }
    };
    // The first ones open and allocate what stays.
    run(1000).await;
    let (held, before) = (Held::now(), memory());
    run(10_000).await;
    as_before(&held).await;
    let after = memory();
    // A page or two of the allocator's own; 10,000 times the smallest block would be 160 KiB.
    assert!(
        after <= before + 64,
        "{before} KiB before, {after} KiB after"
    );
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
    eventually("only the container's own is left", || {
        container.processes() == ["sleep"]
    })
    .await;
}

#[tokio::test]
async fn a_thousand_hooks_leave_no_process_file_or_cgroup() {
    let _alone = ALONE.lock().await;
    let container = Config::default().start();
    let children = children();
    let run = async |script: &str| {
        let command = strings(&["/bin/sh", "-c", script]);
        exec::run(&container.container, &command, &children, pending(), None).await
    };
    // The first one opens what stays open.
    run("true").await;
    let held = Held::now();
    for number in 0..900 {
        let result = run(&format!("exit {}", number % 7)).await;
        assert_eq!(result.exit_code, Some(number % 7));
    }
    // Some at once.
    let all: Vec<_> = (0..200)
        .map(|number| {
            let (container, children) = (container.container.clone(), children.clone());
            tokio::spawn(async move {
                let script = format!("echo {number}; exit {}", number % 5);
                let command = strings(&["/bin/sh", "-c", &script]);
                exec::run(&container, &command, &children, pending(), None).await
            })
        })
        .collect();
    let mut succeeded = 0;
    for (number, task) in (0..).zip(all) {
        let result = task.await.unwrap();
        assert_eq!(result.exit_code, Some(number % 5), "{result:?}");
        assert_eq!(result.output, format!("{number}\n").as_bytes());
        succeeded += i32::from(result.outcome == Outcome::Succeeded);
    }
    assert_eq!(succeeded, 40);
    eventually("the leaves are gone", || container.leaves().is_empty()).await;
    as_before(&held).await;
}

#[tokio::test]
async fn two_hundred_execs_at_once_have_each_its_own_status() {
    let _alone = ALONE.lock().await;
    let container = Config::default().start();
    exit(&container, &["true"]).await;
    let held = Held::now();
    let mut running = Vec::new();
    for number in 0..200 {
        // All of them run together before the first one ends.
        let script = format!("while [ ! -e /tmp/go ]; do sleep 0.05; done; exit {number}");
        running.push(
            start(&container, &["/bin/sh", "-c", &script])
                .await
                .unwrap(),
        );
    }
    assert!(container.processes().len() > 200);
    fs::write(container.rootfs().join("tmp/go"), "").unwrap();
    for (number, child) in (0..).zip(running) {
        assert_eq!(child.exit.await.unwrap().code(), Some(number));
    }
    as_before(&held).await;
    eventually("only the container's own is left", || {
        container.processes() == ["sleep"]
    })
    .await;
}

/// Every exec that began is told of its end, once and truly; none after it hangs.
#[tokio::test]
async fn the_end_of_init_amid_execs() {
    let _alone = ALONE.lock().await;
    for round in 0..5 {
        let container = Config::default().start();
        let held = Held::now();
        let mut long = Vec::new();
        for _ in 0..50 {
            long.push(start(&container, &["sleep", "1000"]).await.unwrap());
        }
        let ended = exit(&container, &["sh", "-c", "exit 9"]).await;
        assert_eq!(ended.code(), Some(9));
        // The end comes while others are on their way, each time at another moment.
        let late = async {
            let mut late = Vec::new();
            loop {
                match start(&container, &["sleep", "1000"]).await {
                    Ok(child) => late.push(child),
                    Err(error) => return (late, error),
                }
            }
        };
        let kill = async {
            tokio::time::sleep(Duration::from_micros(700 * round)).await;
            container.container.send_signal(libc::SIGKILL).unwrap();
        };
        let ((late, error), ()) = tokio::join!(late, kill);
        match &error {
            Error::NotRunning(_) | Error::Killed { .. } => {}
            // There is no process to be made in a pid namespace without init.
            Error::Start { errno, .. } => assert_eq!(*errno, libc::ENOMEM, "{error}"),
            other => panic!("{other}"),
        }
        for child in long.into_iter().chain(late) {
            let exit = in_time("an exec's exit", child.exit).await.unwrap();
            assert_eq!(exit.signal(), Some(libc::SIGKILL));
        }
        eventually("all of it is gone", || {
            container.processes().is_empty() && container.leaves().is_empty()
        })
        .await;
        as_before(&held).await;
        assert!(start(&container, &["true"]).await.is_err());
    }
}
