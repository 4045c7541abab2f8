//! An exec that goes wrong, or is given up, leaves nothing behind. Hostile containers: `exec_hostile`.

mod support;

use std::fs;
use std::future::pending;
use std::time::Duration;

use podhook_hooks::handler::{Outcome, exec};
use serde_json::json;

use support::{Config, children, eventually, strings};

#[tokio::test]
async fn a_hook_given_up_at_any_moment_leaves_nothing() {
    given_up_at_any_moment(Config::default()).await;
}

/// There the final child waits for the caller before it goes on.
#[tokio::test]
async fn nor_does_one_in_a_container_with_few_free_processes() {
    let limit = json!({"pids": {"limit": 8}});
    given_up_at_any_moment(Config::default().set("/linux/resources", limit)).await;
}

async fn given_up_at_any_moment(config: Config) {
    let container = config.start();
    let children = children();
    let files = || fs::read_dir("/proc/self/fd").unwrap().count();
    let command = strings(&["sh", "-c", "setsid sleep 1000 & sleep 1000"]);
    let run = || exec::run(&container.container, &command, &children, pending(), None);
    let _ = tokio::time::timeout(Duration::from_millis(50), run()).await;
    for _ in 0..2 {
        eventually("all of it is dead", || container.processes() == ["sleep"]).await;
        eventually("the leaves are gone", || container.leaves().is_empty()).await;
        let before = files();
        for step in 0..150u64 {
            // Dropped, not aborted: from before the fork to after execve.
            let give_up = Duration::from_micros(step * 40);
            let _ = tokio::time::timeout(give_up, run()).await;
        }
        eventually("all of it is dead", || container.processes() == ["sleep"]).await;
        eventually("the leaves are gone", || container.leaves().is_empty()).await;
        eventually("no file is left open", || files() <= before).await;
    }
}

#[tokio::test]
async fn no_descriptor_of_the_shim_is_in_the_command() {
    let container = Config::default().start();
    let open: Vec<_> = (0..40).map(|_| fs::File::open("/").unwrap()).collect();
    let ran = container
        .engine_exec(&["ls", "/proc/self/fd"])
        .await
        .unwrap()
        .ok();
    // The fourth is the directory that ls reads.
    assert_eq!(ran.stdout, "0\n1\n2\n3\n");
    drop(open);
}

#[tokio::test]
async fn a_user_of_a_user_namespace_can_write_to_its_stdout() {
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "user"].map(|kind| json!({"type": kind}));
    let container = Config::default()
        .set("/linux/namespaces", json!(namespaces))
        .set(
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]),
        )
        .set(
            "/linux/gidMappings",
            json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]),
        )
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .start();
    let command = strings(&["sh", "-c", "echo mine > /proc/self/fd/1"]);
    let result = exec::run(&container.container, &command, &children(), pending(), None).await;
    assert_eq!(
        result.outcome,
        Outcome::Succeeded,
        "{}",
        String::from_utf8_lossy(&result.output)
    );
    assert_eq!(result.output, b"mine\n");
}
