//! The engine where cgroup v2 is the only hierarchy: in a mount namespace that has nothing else.
//!
//! Each test runs once more in such a namespace, as a process of its own.

mod support;

use std::fs;
use std::future::pending;
use std::time::Duration;

use podhook_hooks::handler::{HookRun, Outcome, exec};
use serde_json::json;

use support::bundle::TestContainer;
use support::cgroup_v2::inside;
use support::{Config, children, eventually, in_time, strings};

fn config() -> Config {
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
    Config::default().set("/linux/namespaces", json!(namespaces))
}

async fn hook(container: &TestContainer, script: &str) -> HookRun {
    let command = strings(&["/bin/sh", "-c", script]);
    exec::run(&container.container, &command, &children(), pending(), None).await
}

#[tokio::test]
async fn a_process_is_made_in_the_containers_cgroup() {
    if !inside("a_process_is_made_in_the_containers_cgroup") {
        return;
    }
    let container = config().start();
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid)).unwrap();
    assert!(own.ends_with(&format!("0::/{}\n", container.id)), "{own}");
    for file in ["cgroup", "status", "mountinfo", "limits"] {
        let path = format!("/proc/self/{file}");
        let runc = container.runc_exec(&["cat", &path]).ok();
        let ours = container.engine_exec(&["cat", &path]).await.unwrap().ok();
        let lines = |text: &str| -> Vec<String> {
            let volatile = |line: &&str| {
                !["id:", "pid:", "Vm", "Rss", "sid:", "SigQ", "ctxt", "FDSize"]
                    .iter()
                    .any(|v| line.contains(v))
            };
            text.lines().filter(volatile).map(str::to_string).collect()
        };
        assert_eq!(lines(&ours.stdout), lines(&runc.stdout), "{file}");
    }
    let ns = ["ls", "-l", "/proc/self/ns/cgroup"];
    let target = |text: &str| text.split(" -> ").nth(1).map(str::to_string);
    let (runc, ours) = (
        container.runc_exec(&ns),
        container.engine_exec(&ns).await.unwrap(),
    );
    assert_eq!(target(&ours.stdout), target(&runc.stdout));
}

#[tokio::test]
async fn a_hook_has_a_leaf_that_goes_with_it() {
    if !inside("a_hook_has_a_leaf_that_goes_with_it") {
        return;
    }
    let container = config().start();
    let result = hook(
        &container,
        "grep ^0: /proc/self/cgroup; setsid sleep 5555 & sleep 0.2",
    )
    .await;
    assert_eq!(result.outcome, Outcome::Succeeded);
    // Seen from inside it is the root.
    assert_eq!(String::from_utf8(result.output).unwrap(), "0::/\n");
    assert_eq!(container.processes(), ["sleep"], "the init");
    // What the hook has left keeps it, and sees the same for as long as it lives.
    let [leaf] = &container.leaves()[..] else {
        panic!("not one: {:?}", container.leaves());
    };
    let daemon = fs::read_to_string(leaf.join("cgroup.procs")).unwrap();
    let daemon = daemon.trim().parse().unwrap();
    // SAFETY: takes integers only; the daemon is this test's.
    assert_eq!(unsafe { libc::kill(daemon, libc::SIGKILL) }, 0);
    eventually("the leaf is gone", || container.leaves().is_empty()).await;

    let command = strings(&[
        "sh",
        "-c",
        "setsid sh -c 'sleep 1000 & sleep 6666 & : > /tmp/up' & exec sleep 1000",
    ]);
    let up = container.rootfs().join("tmp/up");
    let abort = eventually("the daemons", || up.exists());
    let children = children();
    let hook = exec::run(&container.container, &command, &children, abort, None);
    let result = in_time("an aborted hook", hook).await;
    assert_eq!(result.outcome, Outcome::Aborted);
    eventually("all of it is dead", || container.processes() == ["sleep"]).await;
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
}

#[tokio::test]
async fn a_container_that_moved_its_processes_down_still_takes_processes() {
    if !inside("a_container_that_moved_its_processes_down_still_takes_processes") {
        return;
    }
    // What systemd does in a container: its processes into a child, then a controller for the children.
    // From then on the container's cgroup takes no process (EBUSY).
    let container = config().start();
    let own = container.cgroup("");
    let child = own.join("init.scope");
    fs::create_dir(&child).unwrap();
    fs::write(child.join("cgroup.procs"), container.pid.to_string()).unwrap();
    fs::write(own.join("cgroup.subtree_control"), "+hugetlb").unwrap();
    let where_is = ["grep", "^0:", "/proc/self/cgroup"];
    let runc = container.runc_exec(&where_is).ok();
    let ours = container.engine_exec(&where_is).await.unwrap().ok();
    assert_eq!(ours.stdout, runc.stdout);
    assert!(ours.stdout.ends_with("/init.scope\n"), "{ours:?}");
    let result = hook(&container, "setsid sleep 5555 & sleep 0.2").await;
    assert_eq!(result.outcome, Outcome::Succeeded, "{result:?}");
    assert_eq!(container.leaves().len(), 2, "the daemon has kept its leaf");
    let init = fs::read_to_string(child.join("cgroup.procs")).unwrap();
    assert_eq!(init.trim(), container.pid.to_string());
}

#[tokio::test]
async fn a_frozen_container_delays_its_hook_only() {
    if !inside("a_frozen_container_delays_its_hook_only") {
        return;
    }
    let container = config().start();
    let freeze = container.cgroup("").join("cgroup.freeze");
    fs::write(&freeze, "1").unwrap();
    let command = strings(&["true"]);
    let children = children();
    let mut hanging = Box::pin(exec::run(
        &container.container,
        &command,
        &children,
        pending(),
        None,
    ));
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut hanging).await;
    assert!(waited.is_err(), "{waited:?}");
    fs::write(&freeze, "0").unwrap();
    let thawed = in_time("the hook after the thaw", hanging).await;
    assert_eq!(thawed.outcome, Outcome::Succeeded);
    fs::write(&freeze, "1").unwrap();
    let abort = tokio::time::sleep(Duration::from_millis(200));
    let command = strings(&["touch", "/tmp/ran"]);
    let hook = exec::run(&container.container, &command, &children, abort, None);
    let result = in_time("an aborted hook", hook).await;
    assert_eq!(result.outcome, Outcome::Aborted);
    // On v2 the frozen die of SIGKILL.
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
    fs::write(&freeze, "0").unwrap();
    assert!(!container.rootfs().join("tmp/ran").exists());
}
