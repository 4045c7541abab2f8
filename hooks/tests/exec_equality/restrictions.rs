//! What a process may not do.

use serde_json::{Value, json};

use crate::compare::{Expected, Module, Setup};
use crate::support::runtime::Runtime;
use crate::users::base;

/// As `ctr run --seccomp` of that containerd puts them into a container's configuration.
const CONTAINERD_1_6: &str = include_str!("../data/seccomp-containerd-1.6.json");
const CONTAINERD_2_1: &str = include_str!("../data/seccomp-containerd-2.1.json");

fn containerd(profile: &str) -> Value {
    serde_json::from_str(profile).unwrap()
}

pub fn no_new_privileges(_: Runtime) -> Setup {
    base().set("/process/noNewPrivileges", json!(true)).into()
}

pub fn seccomp_1_6(_: Runtime) -> Setup {
    base()
        .set("/linux/seccomp", containerd(CONTAINERD_1_6))
        .into()
}

pub fn seccomp_2_1(_: Runtime) -> Setup {
    base()
        .set("/linux/seccomp", containerd(CONTAINERD_2_1))
        .into()
}

pub fn seccomp_2_1_and_no_new_privileges(_: Runtime) -> Setup {
    base()
        .set("/linux/seccomp", containerd(CONTAINERD_2_1))
        .set("/process/noNewPrivileges", json!(true))
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .into()
}

pub fn seccomp_errno_and_kill(_: Runtime) -> Setup {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["sched_getscheduler", "keyctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
        {"names": ["prctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77,
         "args": [{"index": 0, "value": 30, "op": "SCMP_CMP_EQ"}]},
        {"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 76,
         "args": [{"index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
        {"names": ["mkdir"], "action": "SCMP_ACT_KILL"},
        {"names": ["rmdir"], "action": "SCMP_ACT_KILL_PROCESS"},
    ]});
    base().set("/linux/seccomp", profile).into()
}

pub fn seccomp_log_and_trace(_: Runtime) -> Setup {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["uname"], "action": "SCMP_ACT_LOG"},
        // Without a tracer: ENOSYS.
        {"names": ["ioprio_get"], "action": "SCMP_ACT_TRACE", "errnoRet": 5},
    ]});
    base().set("/linux/seccomp", profile).into()
}

pub fn seccomp_flags(runtime: Runtime) -> Setup {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW",
                         "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
                         "syscalls": [{"names": ["uname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}]});
    let mut setup = Setup::from(base().set("/linux/seccomp", profile));
    if runtime == Runtime::Runc {
        setup.expected = Expected::NotHere("this runc makes no container with seccomp flags");
    }
    setup
}

pub fn seccomp_x86_and_x32(_: Runtime) -> Setup {
    let mut profile = containerd(CONTAINERD_1_6);
    profile["defaultErrnoRet"] = json!(99);
    profile["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    base().set("/linux/seccomp", profile).into()
}

/// The profile that every kernel with AppArmor has.
pub fn apparmor(_: Runtime) -> Setup {
    Setup {
        expected: Expected::EqualWith(Module::AppArmor),
        ..base()
            .set("/process/apparmorProfile", json!("unconfined"))
            .into()
    }
}

/// The label that containers get by default.
pub fn selinux(_: Runtime) -> Setup {
    Setup {
        expected: Expected::EqualWith(Module::SeLinux),
        ..base()
            .set(
                "/process/selinuxLabel",
                json!("system_u:system_r:container_t:s0"),
            )
            .into()
    }
}

pub fn read_only_root(_: Runtime) -> Setup {
    base().set("/root/readonly", json!(true)).into()
}

pub fn masked_and_read_only_paths(_: Runtime) -> Setup {
    base()
        .set(
            "/linux/maskedPaths",
            json!([
                "/proc/kcore",
                "/proc/keys",
                "/proc/timer_list",
                "/sys/firmware",
                "/etc/not-executable"
            ]),
        )
        .set(
            "/linux/readonlyPaths",
            json!([
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger"
            ]),
        )
        .into()
}

pub fn seccomp_without_signal_calls(runtime: Runtime) -> Setup {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["rt_sigprocmask", "prlimit64"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
    ]});
    Setup {
        expected: match runtime.is_crun() {
            true => Expected::NotHere("crun makes no container with such a profile"),
            false => Expected::Equal,
        },
        ..base().set("/linux/seccomp", profile).into()
    }
}
