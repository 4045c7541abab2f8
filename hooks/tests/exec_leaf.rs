//! A hook's own cgroup, where containers try to be without one: whole trees are killed all the same, or the result
//! says that they were not; and what a hook reads of its cgroups.

mod support;

use std::fs;
use std::future::pending;
use std::path::PathBuf;

use podhook_hooks::handler::{HookRun, Outcome, Sink, exec, line_queue};
use serde_json::json;

use support::bundle::TestContainer;
use support::cgroup_v2::inside;
use support::{Config, children, eventually, strings};

/// With the kinds of namespaces that a container has by default, and a cgroup namespace.
fn private() -> Config {
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
    Config::default().set("/linux/namespaces", json!(namespaces))
}

async fn hook(container: &TestContainer, script: &str) -> HookRun {
    let command = strings(&["/bin/sh", "-c", script]);
    exec::run(&container.container, &command, &children(), pending(), None).await
}

/// A hook that is aborted once what it has started is there: it runs on in a session of its own, without a parent.
async fn aborted(container: &TestContainer) -> HookRun {
    let runaway = format!("sleep {}", 1_000_000 + container.pid);
    let script = format!("(setsid sh -c '{runaway}; :' &); echo up; exec sleep 1000");
    let command = strings(&["/bin/sh", "-c", &script]);
    let (queue, mut printed) = line_queue();
    let abort = async {
        // Its output is read once the hook knows of its own start.
        printed.recv().await;
        eventually("the tree stands", || is_running(&runaway)).await;
    };
    let (children, sink) = (children(), Some(Sink::Joined(queue)));
    exec::run(&container.container, &command, &children, abort, sink).await
}

/// Whether a process with this command line runs.
fn is_running(line: &str) -> bool {
    let line = format!("{}\0", line.replace(' ', "\0"));
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|found| found == line.as_bytes())
}

/// The container's cgroup in cgroup v2, beside others or alone.
fn unified(container: &TestContainer) -> PathBuf {
    let paths = [container.cgroup("unified"), container.cgroup("")];
    paths.into_iter().find(|path| path.exists()).unwrap()
}

async fn dies_as_a_whole(container: &TestContainer) {
    let result = aborted(container).await;
    assert_eq!(result.outcome, Outcome::Aborted, "{result:?}");
    assert_eq!(result.session_only, None);
    eventually("the init is alone", || container.processes() == ["sleep"]).await;
}

/// What KubeVirt calls housekeeping.
#[tokio::test]
async fn a_container_with_a_threaded_child_cgroup_has_its_hooks() {
    let container = Config::default().start();
    let child = unified(&container).join("housekeeping");
    fs::create_dir(&child).unwrap();
    fs::write(child.join("cgroup.type"), "threaded").unwrap();
    let result = hook(&container, "echo ran").await;
    assert_eq!(result.outcome, Outcome::Succeeded, "{result:?}");
    dies_as_a_whole(&container).await;
}

#[tokio::test]
async fn a_container_that_takes_the_names_before_is_not_rid_of_its_hooks_tree() {
    if !inside("a_container_that_takes_the_names_before_is_not_rid_of_its_hooks_tree") {
        return;
    }
    let container = Config::default().start();
    for n in 0..64 {
        fs::create_dir(unified(&container).join(format!("podhook-{n}"))).unwrap();
    }
    dies_as_a_whole(&container).await;
}

#[tokio::test]
async fn a_container_that_forbids_cgroups_beside_v1_is_not_rid_of_its_hooks_tree() {
    let container = Config::default().start();
    fs::write(unified(&container).join("cgroup.max.descendants"), "0").unwrap();
    dies_as_a_whole(&container).await;
}

#[tokio::test]
async fn where_a_container_forbids_cgroups_the_result_says_that_control_is_lost() {
    if !inside("where_a_container_forbids_cgroups_the_result_says_that_control_is_lost") {
        return;
    }
    for (file, text) in [("cgroup.max.descendants", "0"), ("cgroup.max.depth", "0")] {
        let container = private().start();
        fs::write(unified(&container).join(file), text).unwrap();
        let result = aborted(&container).await;
        assert_eq!(result.outcome, Outcome::Aborted);
        let why = result.session_only.unwrap();
        assert!(why.contains(file), "{why}");
        // Only its session dies.
        assert!(container.processes().len() > 1);
    }
}

#[tokio::test]
async fn where_a_container_has_threaded_cgroups_the_result_says_that_control_is_lost() {
    if !inside("where_a_container_has_threaded_cgroups_the_result_says_that_control_is_lost") {
        return;
    }
    let container = private().start();
    let child = unified(&container).join("housekeeping");
    fs::create_dir(&child).unwrap();
    fs::write(child.join("cgroup.type"), "threaded").unwrap();
    let result = hook(&container, "cat /proc/self/cgroup").await;
    assert_eq!(result.outcome, Outcome::Succeeded, "{result:?}");
    assert!(result.output.ends_with(b"0::/\n"));
    let why = result.session_only.unwrap();
    assert!(why.ends_with("has threaded cgroups"), "{why}");
}

/// What of the container's cgroups a process reads.
const READ: &str = "cat /proc/self/cgroup";

async fn read_by_exec(container: &TestContainer) -> String {
    let runc = container.runc_exec(&["sh", "-c", READ]).ok();
    let ours = container.engine_exec(&["sh", "-c", READ]).await.unwrap();
    assert_eq!(ours.ok().stdout, runc.stdout);
    runc.stdout
}

async fn reads_as_an_exec(container: &TestContainer) {
    let daemon = format!("(setsid sh -c 'sleep 1; {READ} > /tmp/later; touch /tmp/read' &)");
    let result = hook(container, &format!("{READ}; {daemon}")).await;
    assert_eq!(result.outcome, Outcome::Succeeded, "{result:?}");
    assert_eq!(result.session_only, None);
    let of_exec = read_by_exec(container).await;
    assert_eq!(String::from_utf8_lossy(&result.output), of_exec);
    // What it has left running too, when the hook is long over.
    let read = container.rootfs().join("tmp/read");
    eventually("the daemon has read", || read.exists()).await;
    let later = fs::read_to_string(container.rootfs().join("tmp/later")).unwrap();
    assert_eq!(later, of_exec);
}

#[tokio::test]
async fn a_hook_reads_its_cgroups_as_an_exec_does() {
    reads_as_an_exec(&private().start()).await;
}

#[tokio::test]
async fn on_v2_a_hook_reads_its_cgroups_as_an_exec_does() {
    if !inside("on_v2_a_hook_reads_its_cgroups_as_an_exec_does") {
        return;
    }
    reads_as_an_exec(&private().start()).await;
}

/// The joiner, which makes the namespace, stays out of the container's limit of processes then.
#[tokio::test]
async fn where_few_processes_are_free_a_hook_reads_its_cgroups_as_an_exec_does() {
    let container = private()
        .set("/linux/resources/pids", json!({"limit": 12}))
        .start();
    reads_as_an_exec(&container).await;
}

/// In a user namespace: the new cgroup namespace belongs to that one.
#[tokio::test]
async fn a_hook_in_a_user_namespace_reads_its_cgroups_as_an_exec_does() {
    let mut namespaces: Vec<_> = ["pid", "network", "ipc", "uts", "mount", "cgroup", "user"]
        .map(|kind| json!({"type": kind}))
        .to_vec();
    namespaces.rotate_right(1);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let container = Config::default()
        .set("/linux/namespaces", json!(namespaces))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .start();
    let result = hook(&container, READ).await;
    assert_eq!(result.outcome, Outcome::Succeeded, "{result:?}");
    let of_exec = read_by_exec(&container).await;
    assert_eq!(String::from_utf8_lossy(&result.output), of_exec);
}

/// Without a cgroup namespace of its own a container sees the host's paths. The leaf is where no limit is read.
#[tokio::test]
async fn on_v1_the_limits_are_in_the_cgroups_that_an_exec_reads() {
    let container = Config::default().start();
    let result = hook(&container, READ).await;
    let (hook, exec) = (
        String::from_utf8(result.output).unwrap(),
        read_by_exec(&container).await,
    );
    let differ: Vec<_> = hook
        .lines()
        .zip(exec.lines())
        .filter(|(hook, exec)| hook != exec)
        .collect();
    let [(leaf, own)] = differ[..] else {
        panic!("not one: {differ:?}");
    };
    assert!(own.starts_with("0::") || own.contains(":freezer:"), "{own}");
    assert!(leaf.starts_with(&format!("{own}/podhook-")), "{leaf}");
}

/// As who may write to the container's cgroups can make them.
#[tokio::test]
async fn a_leaf_that_has_cgroups_below_is_removed_with_them() {
    let container = Config::default().start();
    let command = strings(&["sh", "-c", "touch /tmp/stands; exec sleep 1000"]);
    let abort = async {
        let stands = container.rootfs().join("tmp/stands");
        eventually("the hook", || stands.exists()).await;
        let leaves = container.leaves();
        assert_eq!(leaves.len(), 1);
        fs::create_dir_all(leaves[0].join("a/b")).unwrap();
    };
    let children = children();
    exec::run(&container.container, &command, &children, abort, None).await;
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
}
