//! A process of the engine cannot be told from one of `runc exec`.

mod support;

use serde_json::{Value, json};
use support::{Config, TestContainer};

/// Everything a process can see of itself through /proc.
const FILES: [&str; 19] = [
    "status",
    "limits",
    "cgroup",
    "personality",
    "oom_score_adj",
    "timerslack_ns",
    "environ",
    "mountinfo",
    "attr/current",
    "loginuid",
    "sessionid",
    "coredump_filter",
    "uid_map",
    "gid_map",
    "setgroups",
    "stat",
    "cmdline",
    "comm",
    "sched",
];

/// Lines that differ between any two processes.
const VOLATILE: [&str; 14] = [
    "Pid:",
    "Tgid:",
    "PPid:",
    "NStgid:",
    "NSpid:",
    "NSpgid:",
    "NSsid:",
    "Vm",
    "Rss",
    "SigQ:",
    "voluntary_ctxt",
    "nonvoluntary_ctxt",
    "FDSize:",
    "Hugetlb",
];

/// The probes, each one exec.
async fn compare(container: &TestContainer) {
    compare_with(container, &container.bundle_process()).await;
}

async fn compare_with(container: &TestContainer, process: &Value) {
    for file in FILES {
        let path = format!("/proc/self/{file}");
        equal(container, process, &["/bin/cat", &path]).await;
    }
    equal(container, process, &["/bin/ls", "-l", "/proc/self/ns"]).await;
    equal(container, process, &["/bin/ls", "-ln", "/proc/self/fd/"]).await;
    equal(container, process, &["/bin/env"]).await;
    equal(container, process, &["pwd"]).await;
    equal(container, process, &["id"]).await;
    equal(
        container,
        process,
        &[
            "sh",
            "-c",
            "umask; echo $0; ionice; chrt -p $$; test -t 0; echo $?",
        ],
    )
    .await;
    // Reopening its own stdio: the owner of the files is changed to the user.
    equal(
        container,
        process,
        &[
            "sh",
            "-c",
            "echo again > /proc/self/fd/1; stat -c %u /proc/self/fd/1",
        ],
    )
    .await;
}

async fn equal(container: &TestContainer, process: &Value, command: &[&str]) {
    let runc = container.runc_exec_with(process, command);
    let ours = container.engine_exec_with(process, command).await.unwrap();
    assert_eq!(
        ours.exit.raw_status, runc.exit.raw_status,
        "{command:?}: {ours:?} {runc:?}"
    );
    let (ours, runc) = (
        normal(command, &ours.stdout) + &ours.stderr,
        normal(command, &runc.stdout) + &runc.stderr,
    );
    if ours != runc {
        let only = |these: &str, those: &str| {
            let those: Vec<_> = those.lines().collect();
            let only: Vec<_> = these.lines().filter(|line| !those.contains(line)).collect();
            only.join("\n")
        };
        panic!(
            "{command:?}\nonly the engine:\n{}\nonly runc exec:\n{}",
            only(&ours, &runc),
            only(&runc, &ours)
        );
    }
    assert!(!ours.is_empty(), "{command:?} printed nothing");
}

fn normal(command: &[&str], text: &str) -> String {
    let lines: Vec<String> = match command {
        [_, "/proc/self/stat"] => vec![stat(text)],
        [_, "/proc/self/sched"] => text
            .lines()
            .filter(|line| ["policy", "prio"].iter().any(|name| line.starts_with(name)))
            .map(str::to_string)
            .collect(),
        [_, "/proc/self/environ"] => text.split('\0').map(str::to_string).collect(),
        // The target of a file without a name, dates.
        ["/bin/ls", "-ln", _] => text
            .lines()
            .map(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                let (modes, target) = (fields.first(), fields.get(8..));
                let target: Vec<_> = target
                    .unwrap_or_default()
                    .iter()
                    .map(|word| {
                        if word.contains(".tmp") || word.contains("/#") {
                            "file"
                        } else {
                            word
                        }
                    })
                    .collect();
                format!(
                    "{modes:?} {:?} {:?} {target:?}",
                    fields.get(2),
                    fields.get(3)
                )
            })
            .collect(),
        ["/bin/ls", ..] => text
            .lines()
            .map(|line| line.split(" -> ").skip(1).collect())
            .collect(),
        ["sh", "-c", ..] => text
            .lines()
            .map(|line| match line.starts_with("pid ") {
                true => line
                    .split_once("'s")
                    .map_or(line, |(_, rest)| rest)
                    .to_string(),
                false => line.to_string(),
            })
            .collect(),
        _ => text
            .lines()
            .filter(|line| !VOLATILE.iter().any(|prefix| line.starts_with(prefix)))
            .map(str::to_string)
            .collect(),
    };
    lines.join("\n")
}

/// /proc/self/stat without numbers that differ: the state, the relation of pid, group and session, the
/// terminal, the priority, nice, threads, signals, scheduling class.
fn stat(text: &str) -> String {
    let (head, fields) = text.rsplit_once(") ").unwrap();
    let pid = head.split(' ').next().unwrap();
    let fields: Vec<_> = fields.split(' ').collect();
    let own = |index: usize| fields[index] == pid;
    let same: Vec<_> = [0, 4, 5, 15, 16, 17, 28, 29, 30, 31, 35, 37, 38]
        .map(|index| fields[index])
        .into();
    format!("{:?} group {} session {}", same, own(2), own(3))
}

fn base() -> Config {
    Config::default()
}

#[tokio::test]
async fn root_with_default_capabilities() {
    compare(&base().start()).await;
}

#[tokio::test]
async fn a_user_with_groups_and_no_capabilities() {
    let config = base()
        .set(
            "/process/user",
            json!({"uid": 1000, "gid": 1000, "additionalGids": [7, 5, 7]}),
        )
        .set("/process/capabilities", json!({}))
        .set("/process/cwd", json!("/home/foo"));
    compare(&config.start()).await;
}

#[tokio::test]
async fn a_user_with_ambient_capabilities() {
    let caps = json!(["CAP_KILL", "CAP_NET_RAW"]);
    let config = base()
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set(
            "/process/capabilities",
            json!({"bounding": caps, "effective": caps, "permitted": caps, "inheritable": caps,
                   "ambient": ["CAP_KILL", "CAP_CHOWN"]}),
        );
    compare(&config.start()).await;
}

#[tokio::test]
async fn no_new_privileges_and_a_missing_cwd_entry_for_home() {
    let config = base()
        .set("/process/noNewPrivileges", json!(true))
        .set("/process/user", json!({"uid": 4242, "gid": 4242}));
    compare(&config.start()).await;
}

#[tokio::test]
async fn rlimits_and_oom_score() {
    let config = base()
        .set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024},
                   {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                   {"type": "RLIMIT_NPROC", "soft": 100, "hard": 200}]),
        )
        .set("/process/oomScoreAdj", json!(321));
    compare(&config.start()).await;
}

/// runc built with Go 1.19 or 1.20 raises the soft limit of open files to the hard one at exec, not at
/// create; the engine gives what the container asks for.
#[tokio::test]
async fn the_soft_limit_of_open_files_is_the_containers() {
    let container = base()
        .set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}]),
        )
        .start();
    let ran = container
        .engine_exec(&["sh", "-c", "ulimit -Sn; ulimit -Hn"])
        .await
        .unwrap();
    assert_eq!(ran.ok().stdout, "512\n1024\n");
}

/// runc 1.1 forgets the umask at exec; later ones apply the container's, as this engine does.
#[tokio::test]
async fn the_umask_is_the_containers() {
    let container = base()
        .set("/process/user", json!({"uid": 0, "gid": 0, "umask": 0o27}))
        .start();
    let ran = container.engine_exec(&["sh", "-c", "umask"]).await.unwrap();
    assert_eq!(ran.ok().stdout, "0027\n");
}

#[tokio::test]
async fn environment_with_duplicates_and_an_empty_home() {
    let config = base().set(
        "/process/env",
        json!([
            "A=1",
            "PATH=/nowhere",
            "HOME=",
            "A=2",
            "PATH=/bin",
            "E=",
            "A=3"
        ]),
    );
    compare(&config.start()).await;
}

#[tokio::test]
async fn home_from_a_passwd_file_that_misbehaves() {
    for passwd in [
        "# comment\nroot:x:0:0::/root:/bin/sh\n",
        "root:x:0:0:root\n",
        "",
        "r:x:z:0::/z\n",
    ] {
        let container = base().passwd(passwd).start();
        equal(&container, &container.bundle_process(), &["/bin/env"]).await;
    }
}

#[tokio::test]
async fn host_namespaces() {
    let config = base().set("/linux/namespaces", json!([{"type": "mount"}]));
    // /proc and /sys of the host's own namespaces cannot be mounted afresh everywhere: bind them.
    let config = config.set(
        "/mounts",
        json!([{"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}]),
    );
    let mut config = config;
    config.json.as_object_mut().unwrap().remove("hostname");
    compare(&config.start()).await;
}

#[tokio::test]
async fn a_private_cgroup_namespace() {
    let config = base().set(
        "/linux/namespaces",
        json!([{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
               {"type": "cgroup"}]),
    );
    compare(&config.start()).await;
}

#[tokio::test]
async fn the_pid_namespace_of_another_container() {
    let pause = base().start();
    let config = base().set(
        "/linux/namespaces",
        json!([{"type": "pid", "path": format!("/proc/{}/ns/pid", pause.pid)},
               {"type": "network", "path": format!("/proc/{}/ns/net", pause.pid)},
               {"type": "ipc", "path": format!("/proc/{}/ns/ipc", pause.pid)},
               {"type": "uts", "path": format!("/proc/{}/ns/uts", pause.pid)},
               {"type": "mount"}]),
    );
    let mut config = config;
    config.json.as_object_mut().unwrap().remove("hostname");
    compare(&config.start()).await;
}

#[tokio::test]
async fn a_user_namespace() {
    let config = base()
        .set(
            "/linux/namespaces",
            json!([{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                   {"type": "user"}]),
        )
        .set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]))
        .set("/linux/gidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]))
        .set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [7]}));
    compare(&config.start()).await;
}

fn seccomp(default: &str, syscalls: Value) -> Value {
    json!({"defaultAction": default,
           "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
           "syscalls": syscalls})
}

#[tokio::test]
async fn seccomp_with_and_without_no_new_privileges() {
    let profile = seccomp(
        "SCMP_ACT_ALLOW",
        json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
               {"names": ["chmod"], "action": "SCMP_ACT_KILL"}]),
    );
    for nnp in [false, true] {
        let container = base()
            .set("/linux/seccomp", profile.clone())
            .set("/process/noNewPrivileges", json!(nnp))
            .start();
        compare(&container).await;
        let process = container.bundle_process();
        equal(&container, &process, &["sh", "-c", "mkdir /tmp/x; echo $?"]).await;
    }
}

#[tokio::test]
async fn a_process_that_differs_from_the_container() {
    let container = base().start();
    let mut process = container.bundle_process();
    process["user"] = json!({"uid": 1000, "gid": 100, "umask": 7, "additionalGids": [3]});
    process["env"] = json!(["PATH=/bin", "X=1"]);
    process["cwd"] = json!("/tmp");
    process["noNewPrivileges"] = json!(true);
    process["oomScoreAdj"] = json!(500);
    process["capabilities"] = json!({"bounding": ["CAP_KILL"], "inheritable": ["CAP_KILL"]});
    process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]);
    compare_with(&container, &process).await;
}
