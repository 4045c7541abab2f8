//! The seccomp filter of an exec'd process decides about every system call as runc's does.
//!
//! The init of the container carries the filter that runc installed. It is read back from the kernel,
//! as is the one the engine installed, and both are run over system calls of every ABI.

mod support;

use podhook_hooks::exec::{self, Error, Process, Stdio};
use serde_json::{Value, json};

use support::bpf::{self, Call};
use support::bundle::TestContainer;
use support::{Config, children, dev_null, eventually, strings};

const X86_64: u32 = 0xC000_003E;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xC000_00B7;
const X32_BIT: u32 = 0x4000_0000;

/// As `ctr run --seccomp` of that containerd puts them into a container's configuration; what a pod with
/// RuntimeDefault gets.
const CONTAINERD_1_6: &str = include_str!("data/seccomp-containerd-1.6.json");
const CONTAINERD_2_1: &str = include_str!("data/seccomp-containerd-2.1.json");

fn profile(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn calls() -> Vec<Call> {
    let args = [
        [0; 6],
        [u64::MAX; 6],
        [8; 6],
        [40; 6],
        [0x20000; 6],
        [0x20008; 6],
        [0xffff_ffff; 6],
        [0x1_0000_0008; 6],
        [0x1000_0000; 6],
        [0x7E02_0000; 6],
        [5, 6, 7, 8, 9, 10],
        [6, 5, 7, 8, 9, 10],
    ];
    let all = (0..480).chain([600, u32::MAX, 0xf0005]);
    let native = all.clone().flat_map(|number| {
        args.map(|args| Call {
            arch: X86_64,
            number,
            args,
        })
    });
    let others = all.flat_map(|number| {
        [(X86_64, X32_BIT), (I386, 0), (AARCH64, 0)].map(|(arch, bit)| Call {
            arch,
            number: number | bit,
            args: [8; 6],
        })
    });
    native.chain(others).collect()
}

/// A sleeping process of the engine.
async fn sleeper(container: &TestContainer) -> exec::Child {
    let process = Process::of_container(&container.spec).args(&strings(&["sleep", "1000"]));
    let stdio = Stdio {
        stdin: dev_null(),
        stdout: support::temporary_file().into(),
        stderr: support::temporary_file().into(),
    };
    exec::spawn(&container.container, &process, stdio, false, &children())
        .await
        .unwrap()
}

async fn same_verdicts(profile: Value) {
    for nnp in [false, true] {
        let container = Config::default()
            .set("/linux/seccomp", profile.clone())
            .set("/process/noNewPrivileges", json!(nnp))
            .start();
        let child = sleeper(&container).await;
        let (runc, ours) = (bpf::filters(container.pid), bpf::filters(child.pid));
        assert_eq!(ours.len(), runc.len());
        for call in calls() {
            let verdict = |filters: &[Vec<_>]| filters.iter().map(|f| bpf::run(f, call)).min();
            assert_eq!(verdict(&ours), verdict(&runc), "{call:x?}");
        }
    }
}

#[tokio::test]
async fn the_default_profile_of_containerd_1_6() {
    same_verdicts(profile(CONTAINERD_1_6)).await;
}

#[tokio::test]
async fn the_default_profile_of_containerd_2_1() {
    same_verdicts(profile(CONTAINERD_2_1)).await;
}

#[tokio::test]
async fn every_action_and_operator() {
    let rule = |name: &str, action: &str| json!({"names": [name], "action": action});
    let compare = |name: &str, op: &str| {
        json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 7,
               "args": [{"index": 1, "value": 6, "valueTwo": 4, "op": op}]})
    };
    let rules = json!([
        rule("mkdir", "SCMP_ACT_KILL"),
        rule("rmdir", "SCMP_ACT_KILL_THREAD"),
        rule("chmod", "SCMP_ACT_KILL_PROCESS"),
        rule("chown", "SCMP_ACT_TRAP"),
        rule("link", "SCMP_ACT_ERRNO"),
        json!({"names": ["symlink"], "action": "SCMP_ACT_TRACE", "errnoRet": 9}),
        rule("mknod", "SCMP_ACT_LOG"),
        rule("no_such_call", "SCMP_ACT_KILL"),
        compare("fchmod", "SCMP_CMP_NE"),
        compare("fchown", "SCMP_CMP_LT"),
        compare("lchown", "SCMP_CMP_LE"),
        compare("umask", "SCMP_CMP_EQ"),
        compare("utime", "SCMP_CMP_GE"),
        compare("utimes", "SCMP_CMP_GT"),
        compare("futimesat", "SCMP_CMP_MASKED_EQ"),
        // Two conditions on one argument become two rules.
        {"names": ["mlock"], "action": "SCMP_ACT_ERRNO",
         "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
        // On two they are one.
        {"names": ["munlock"], "action": "SCMP_ACT_ERRNO",
         "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 6, "op": "SCMP_CMP_EQ"}]},
    ]);
    same_verdicts(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})).await;
}

#[tokio::test]
async fn default_actions_and_architectures() {
    let names: Vec<_> = profile(CONTAINERD_1_6)["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|rule| rule["names"].as_array().unwrap().clone())
        .collect();
    let allow = json!([{"names": names, "action": "SCMP_ACT_ALLOW"}]);
    for (default, errno, architectures) in [
        ("SCMP_ACT_ERRNO", json!(99), json!(["SCMP_ARCH_X86_64"])),
        (
            "SCMP_ACT_TRAP",
            json!(null),
            json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]),
        ),
        ("SCMP_ACT_ERRNO", json!(null), json!([])),
        (
            "SCMP_ACT_LOG",
            json!(null),
            json!(["SCMP_ARCH_X86", "SCMP_ARCH_X86_64"]),
        ),
        (
            "SCMP_ACT_ERRNO",
            json!(38),
            json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X86"]),
        ),
    ] {
        let profile = json!({"defaultAction": default, "defaultErrnoRet": errno,
                             "architectures": architectures, "syscalls": allow});
        same_verdicts(profile).await;
    }
}

#[tokio::test]
async fn a_profile_with_notify_is_left_to_the_runtime() {
    // runc itself needs a listener for it: the engine alone is asked.
    let container = Config::default().create();
    let mut spec = container.spec.clone();
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW",
                         "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    spec.linux.seccomp = serde_json::from_value(profile).unwrap();
    let opened = exec::Container::open(&container.id, container.pid, &spec).unwrap();
    let process = Process::of_container(&spec).args(&strings(&["true"]));
    assert!(opened.check().unwrap_err().is_unsupported());
    assert!(container.container.check().is_ok());
    let stdio = Stdio {
        stdin: dev_null(),
        stdout: dev_null(),
        stderr: dev_null(),
    };
    let error = exec::spawn(&opened, &process, stdio, true, &children())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    eventually("the leaf is gone", || container.leaves().is_empty()).await;
}
