//! A process that the host puts into a container has no more rights there than the container.

use std::future::pending;

use podhook_hooks::handler::{HookRun, Outcome, exec};
use serde_json::{Value, json};

use crate::support::bundle::TestContainer;
use crate::support::{Config, children, strings};

async fn hook(container: &TestContainer, script: &str) -> HookRun {
    let command = strings(&["/bin/sh", "-c", script]);
    exec::run(&container.container, &command, &children(), pending(), None).await
}

fn profile() -> Value {
    serde_json::from_str(include_str!("../data/seccomp-containerd-2.1.json")).unwrap()
}

/// CVE-2021-3101, CVE-2022-0071: a helper of the host ran in containers without their limits.
#[tokio::test]
async fn a_hook_has_the_rights_and_limits_of_the_containers_own_process() {
    let names = json!(["CAP_KILL", "CAP_CHOWN"]);
    let container = Config::default()
        .set("/linux/seccomp", profile())
        .set("/process/noNewPrivileges", json!(true))
        .set(
            "/process/capabilities",
            json!({"bounding": names, "effective": names, "permitted": names}),
        )
        .set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}, {"type": "RLIMIT_NPROC", "soft": 77, "hard": 77}]),
        )
        .set(
            "/linux/resources",
            json!({"pids": {"limit": 20}, "memory": {"limit": 32 << 20},
                   "devices": [{"allow": false, "access": "rwm"}]}),
        )
        .start();
    // Its cgroup is the container's; in one hierarchy it has a leaf below that.
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups)' /proc/self/status; cat /proc/self/limits";
    let own = script.replace("self", "1");
    let result = hook(&container, script).await;
    assert_eq!(result.outcome, Outcome::Succeeded, "{result:?}");
    let output = String::from_utf8(result.output).unwrap();
    assert!(output.contains("Seccomp:\t2\n"), "{output}");
    let theirs = container.engine_exec(&["sh", "-c", &own]).await.unwrap();
    assert_eq!(output, theirs.ok().stdout);

    let result = hook(
        &container,
        "cat /proc/self/cgroup; echo; cat /proc/1/cgroup",
    )
    .await;
    let output = String::from_utf8(result.output).unwrap();
    let (own, init) = output.split_once("\n\n").unwrap();
    for (own, init) in own.lines().zip(init.lines()) {
        assert!(
            own == init || own.starts_with(&format!("{init}/podhook-")),
            "{own} {init}"
        );
    }
    // The devices cgroup: a node of a disk may be made, not opened.
    let script = "mknod /tmp/disk b 254 0 2>/dev/null; dd if=/tmp/disk of=/dev/null count=1 2>&1";
    let result = hook(&container, script).await;
    assert_ne!(result.outcome, Outcome::Succeeded, "{result:?}");
    let result = hook(
        &container,
        "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done",
    )
    .await;
    assert_ne!(result.outcome, Outcome::Succeeded, "forked past the limit");
}

/// CVE-2022-29162: inheritable capabilities that nobody asked for, from the maker's own.
#[tokio::test]
async fn no_capability_is_inheritable_or_ambient_unless_asked_for() {
    let container = Config::default().start();
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [0u32; 6];
    // SAFETY: of this thread, which forks; both have the layout that version 3 asks for.
    unsafe {
        assert_eq!(
            libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()),
            0
        );
        (data[2], data[5]) = (data[1], data[4]);
        assert_eq!(
            libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()),
            0
        );
        let raise = libc::PR_CAP_AMBIENT_RAISE;
        assert_eq!(libc::prctl(libc::PR_CAP_AMBIENT, raise, 5, 0, 0), 0);
    }
    let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(!own.contains("CapInh:\t0000000000000000"), "{own}");
    let command = ["grep", "-E", "CapInh|CapAmb", "/proc/self/status"];
    let ran = container.engine_exec(&command).await.unwrap().ok();
    assert_eq!(
        ran.stdout,
        "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n"
    );
}

/// CVE-2022-0811: strings of the user that became options of a helper. Here there is no helper, and no
/// string is ever put together.
#[tokio::test]
async fn arguments_arrive_as_they_are() {
    let container = Config::default().start();
    let hostile = [
        "--",
        "-c",
        "a b",
        "a\nb",
        "$(touch /tmp/x)",
        "`id`",
        "a+kernel.core_pattern=|/x",
        "'\"\\",
        "",
        "\u{1b}[0m",
        "é",
    ];
    let script = "for a; do printf '%s\\0' \"$a\"; done";
    let mut command = vec!["sh", "-c", script, "sh"];
    command.extend(hostile);
    let ran = container.engine_exec(&command).await.unwrap().ok();
    let arrived: Vec<_> = ran.stdout.split_terminator('\0').collect();
    assert_eq!(arrived, hostile);
    assert!(!container.rootfs().join("tmp/x").exists());
}
