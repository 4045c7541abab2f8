//! A container cannot turn the engine against the host, and an exec that goes wrong leaves nothing.

mod support;

use std::fs;
use std::future::pending;
use std::time::Duration;

use podhook_hooks::exec::{Error, Step};
use podhook_hooks::handler::{Outcome, exec};
use serde_json::json;
use support::{Config, children, eventually, strings};

#[tokio::test]
async fn a_hook_given_up_at_any_moment_leaves_nothing() {
    let container = Config::default().start();
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
async fn a_label_that_cannot_be_applied_fails_the_exec() {
    let container = Config::default().start();
    if fs::exists("/sys/module/apparmor").unwrap() {
        return;
    }
    for (field, steps) in [
        ("apparmorProfile", [Step::AppArmor; 2]),
        ("selinuxLabel", [Step::KeyLabel, Step::ExecLabel]),
    ] {
        let mut process = container.bundle_process();
        process[field] = json!("some_label");
        let error = container
            .engine_exec_with(&process, &["true"])
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Start { step, .. } if steps.contains(&step)),
            "{field}: {error}"
        );
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

/// CVE-2024-21626: a working directory that is a descriptor of the engine.
#[tokio::test]
async fn a_cwd_through_a_descriptor_leads_nowhere() {
    let container = Config::default().start();
    let _open = fs::File::open("/").unwrap();
    for number in 3..40 {
        let mut process = container.bundle_process();
        process["cwd"] = json!(format!("/proc/self/fd/{number}"));
        let error = container
            .engine_exec_with(&process, &["pwd"])
            .await
            .unwrap_err();
        assert!(
            error.to_string().starts_with("chdir to cwd"),
            "{number}: {error}"
        );
    }
}

/// runc hangs on it, since it opens the file as it is.
#[tokio::test]
async fn a_fifo_called_passwd_does_not_hang_the_exec() {
    let container = Config::default().start();
    let passwd = container.rootfs().join("etc/passwd");
    fs::remove_file(&passwd).unwrap();
    support::run(std::process::Command::new("mkfifo").arg(&passwd)).ok();
    let ran = container
        .engine_exec(&["sh", "-c", "echo $HOME"])
        .await
        .unwrap();
    assert_eq!(ran.ok().stdout, "/\n");
}

#[tokio::test]
async fn a_passwd_of_a_gigabyte_does_not_hold_the_exec_up() {
    let container = Config::default().start();
    let passwd = fs::File::create(container.rootfs().join("etc/passwd")).unwrap();
    passwd.set_len(1 << 30).unwrap();
    let start = std::time::Instant::now();
    let ran = container
        .engine_exec(&["sh", "-c", "echo $HOME"])
        .await
        .unwrap();
    assert_eq!(ran.ok().stdout, "/\n");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_full_pids_cgroup_is_a_clear_error() {
    let container = Config::default()
        .set("/linux/resources", json!({"pids": {"limit": 1}}))
        .start();
    let command = strings(&["true"]);
    let result = exec::run(&container.container, &command, &children(), pending(), None).await;
    let Outcome::Failed(message) = result.outcome else {
        panic!("{result:?}");
    };
    assert!(
        message.ends_with("resource temporarily unavailable"),
        "{message}"
    );
    assert!(container.leaves().is_empty());
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
