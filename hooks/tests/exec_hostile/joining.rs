//! The process that joins is watched by one of the container.

use std::fs;

use podhook_hooks::exec::Process;
use serde_json::{Value, json};

use crate::support::bundle::TestContainer;
use crate::support::{Config, program, strings};

/// A process whose way to its command is long, to be looked at on it.
pub fn slow(process: &Value) -> Value {
    let dirs: Vec<_> = (0..2000).map(|n| format!("/nowhere/{n}")).collect();
    let mut process = process.clone();
    process["env"] = json!([format!("PATH={}:/bin", dirs.join(":"))]);
    process
}

/// The name that a process made by this thread has until it is the command.
fn own_comm() -> String {
    let comm = fs::read_to_string("/proc/thread-self/comm").unwrap();
    comm.trim().to_string()
}

/// The container's first process is the spy; what it got is returned once it has looked a hundred times.
async fn spied_on(config: Config) -> String {
    let comm = own_comm();
    let container = config
        .args(&["/bin/spy", &comm])
        .program("spy", program::build("exec_hostile/spy.c"))
        .start();
    look(&container).await
}

async fn look(container: &TestContainer) -> String {
    let process = slow(&container.bundle_process());
    let seen = || fs::metadata(container.rootfs().join("tmp/seen")).map_or(0, |seen| seen.len());
    let mut tries = 0;
    while seen() < 100 {
        let ran = container.engine_exec_with(&process, &["true"]).await;
        ran.unwrap().ok();
        tries += 1;
        assert!(tries < 5000, "the spy saw none: {} times", seen());
    }
    fs::read_to_string(container.rootfs().join("tmp/got")).unwrap()
}

/// CVE-2016-9962.
#[tokio::test]
async fn root_of_the_container_gets_nothing_of_a_joining_process() {
    assert_eq!(spied_on(Config::default()).await, "");
}

#[tokio::test]
async fn nor_does_the_user_it_will_run_as() {
    let config = Config::default()
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set("/process/capabilities", json!({}));
    assert_eq!(spied_on(config).await, "");
}

/// CAP_SYS_PTRACE of a user namespace of its own is no right over a process that comes from outside.
#[tokio::test]
async fn nor_does_a_tracer_in_a_user_namespace() {
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "user"].map(|kind| json!({"type": kind}));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let names = ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_KILL"];
    let config = Config::default()
        .set("/linux/namespaces", json!(namespaces))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .set(
            "/process/capabilities",
            json!({"bounding": names, "effective": names, "permitted": names}),
        );
    assert_eq!(spied_on(config).await, "");
}

/// The spy itself works: of a process of its own container it gets everything.
#[tokio::test]
async fn a_spy_gets_at_processes_of_its_own() {
    let container = Config::default()
        .args(&["/bin/spy", "sleep"])
        .program("spy", program::build("exec_hostile/spy.c"))
        .start();
    let process = Process::of_container(&container.spec).args(&strings(&["sleep", "1000"]));
    let stdio = podhook_hooks::exec::Stdio {
        stdin: crate::support::dev_null(),
        stdout: crate::support::dev_null(),
        stderr: crate::support::dev_null(),
    };
    let children = crate::support::children();
    let child = podhook_hooks::exec::spawn(&container.container, &process, stdio, false, &children);
    let child = child.await.unwrap();
    let got = || fs::read_to_string(container.rootfs().join("tmp/got")).unwrap_or_default();
    for what in ["exe", "fd", "environ", "maps", "root", "cwd", "ptrace"] {
        crate::support::eventually(what, || got().lines().any(|line| line == what)).await;
    }
    child.signal(libc::SIGKILL).unwrap();
}
