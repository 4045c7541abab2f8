//! Who runs: users, environments, capabilities.

use serde_json::json;

use crate::compare::{Expected, Setup};
use crate::support::Config;
use crate::support::runtime::Runtime;

pub fn base() -> Config {
    Config::default()
}

pub fn root(_: Runtime) -> Setup {
    base().into()
}

pub fn user_with_groups(_: Runtime) -> Setup {
    base()
        .set(
            "/process/user",
            json!({"uid": 1000, "gid": 1000, "additionalGids": [7, 5, 7]}),
        )
        .set("/process/capabilities", json!({}))
        .set("/process/cwd", json!("/home/foo"))
        .into()
}

pub fn user_without_passwd_entry(_: Runtime) -> Setup {
    base()
        .set("/process/user", json!({"uid": 4242, "gid": 4343}))
        .into()
}

pub fn home_from_passwd(_: Runtime) -> Setup {
    base()
        .passwd("daemon:x:1:1::/usr/sbin:/bin/false\nfoo:x:1000:1000:foo:/srv/foo:/bin/sh\n")
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set("/process/env", json!(["PATH=/bin", "HOME=", "A=1"]))
        .into()
}

pub fn environment(_: Runtime) -> Setup {
    let env = [
        "A=1",
        "PATH=/nowhere",
        "HOME=/h",
        "A=2",
        "PATH=/bin",
        "E=",
        "A=3",
        "B==",
        "C=a b",
    ];
    base().set("/process/env", json!(env)).into()
}

pub fn umask(_: Runtime) -> Setup {
    base()
        .set("/process/user", json!({"uid": 0, "gid": 0, "umask": 0o27}))
        .into()
}

pub fn another_user(_: Runtime) -> Setup {
    Setup {
        process: json!({
            "user": {"uid": 1000, "gid": 100, "additionalGids": [3]},
            "env": ["PATH=/bin", "X=1"],
            "cwd": "/tmp",
            "noNewPrivileges": true,
            "capabilities": {"bounding": ["CAP_KILL"], "inheritable": ["CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_NPROC", "soft": 64, "hard": 64}],
        }),
        ..base().into()
    }
}

pub fn capabilities_dropped(_: Runtime) -> Setup {
    base().set("/process/capabilities", json!({})).into()
}

fn all_sets(names: &[&str]) -> serde_json::Value {
    json!({"bounding": names, "effective": names, "permitted": names})
}

/// What runc 1.1 and crun take for none, later runcs for all that their caller has.
pub fn capabilities_not_said(_: Runtime) -> Setup {
    base().set("/process/capabilities", json!(null)).into()
}

pub fn capabilities_not_said_of_a_user(_: Runtime) -> Setup {
    base()
        .set("/process/capabilities", json!(null))
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .into()
}

pub fn environment_empty(_: Runtime) -> Setup {
    Setup {
        program: "/bin/probe",
        ..base().set("/process/env", json!([])).into()
    }
}

pub fn capabilities_added(_: Runtime) -> Setup {
    let names = [
        "CAP_CHOWN",
        "CAP_KILL",
        "CAP_SYS_ADMIN",
        "CAP_NET_ADMIN",
        "CAP_SYS_PTRACE",
    ];
    base().set("/process/capabilities", all_sets(&names)).into()
}

pub fn capabilities_ambient(_: Runtime) -> Setup {
    let names = json!(["CAP_KILL", "CAP_NET_RAW"]);
    base()
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set(
            "/process/capabilities",
            json!({"bounding": names, "effective": names, "permitted": names, "inheritable": names,
                   "ambient": ["CAP_KILL"]}),
        )
        .into()
}

pub fn capabilities_inheritable(_: Runtime) -> Setup {
    let names = json!(["CAP_KILL", "CAP_NET_RAW"]);
    base()
        .set(
            "/process/capabilities",
            json!({"bounding": names, "permitted": names, "inheritable": names}),
        )
        .into()
}

pub fn privileged(_: Runtime) -> Setup {
    let names = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ];
    // As many as this machine has itself.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:\t"))
        .unwrap();
    let own = u64::from_str_radix(own, 16).unwrap();
    let names: Vec<_> = (0..)
        .zip(names)
        .filter(|(bit, _)| own & (1u64 << bit) != 0)
        .map(|(_, name)| format!("CAP_{name}"))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    base().set("/process/capabilities", all_sets(&names)).into()
}

pub fn large_ids(runtime: Runtime) -> Setup {
    Setup {
        process: json!({"user": {"uid": 2_147_483_648u32, "gid": 4_294_967_294u32,
                                 "additionalGids": [3_000_000_000u32]}}),
        // runc 1.1 refuses them.
        expected: match runtime.is_crun() {
            true => Expected::Equal,
            false => Expected::FallsBack,
        },
        ..base().into()
    }
}

pub fn id_minus_one(runtime: Runtime) -> Setup {
    Setup {
        process: json!({"user": {"uid": u32::MAX, "gid": 5}}),
        // crun's stays root.
        expected: match runtime.is_crun() {
            true => Expected::RefusedAsByRunc,
            false => Expected::FallsBack,
        },
        ..base().into()
    }
}
