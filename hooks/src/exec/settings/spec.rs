//! The parts of an OCI `config.json` that decide how a further process runs in the container.
//!
//! Strings stay open: a capability or rlimit this version does not know must not make a container
//! unusable at parse time; what an unknown value means is decided where it is applied. Go writes
//! `null` for an empty list, so every list takes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::capabilities::Names;

/// The container's configuration, as far as the engine reads it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// The container's own process.
    #[serde(deserialize_with = "null_is_default")]
    pub process: Process,
    /// Linux settings that every process of the container gets.
    #[serde(deserialize_with = "null_is_default")]
    pub linux: Linux,
    /// Annotations; some switch a runtime to features that the engine does not have.
    #[serde(deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// An OCI process: the container's own, or the one of an exec request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Process {
    /// Wants a terminal as its stdio.
    pub terminal: bool,
    /// The terminal's size at the start.
    pub console_size: Option<ConsoleSize>,
    /// Who it runs as.
    #[serde(deserialize_with = "null_is_default")]
    pub user: User,
    /// The command and its arguments.
    #[serde(deserialize_with = "null_is_default")]
    pub args: Vec<String>,
    /// The environment, `NAME=value`.
    #[serde(deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub cwd: String,
    pub capabilities: Option<Capabilities>,
    /// Resource limits that differ from the runtime's own.
    #[serde(deserialize_with = "null_is_default")]
    pub rlimits: Vec<Rlimit>,
    /// Whether no_new_privs is set.
    pub no_new_privileges: bool,
    /// The AppArmor profile, empty for none.
    #[serde(deserialize_with = "null_is_default")]
    pub apparmor_profile: String,
    /// The SELinux label, empty for none.
    #[serde(deserialize_with = "null_is_default")]
    pub selinux_label: String,
    /// oom_score_adj; only the container's own process decides it, as in runc.
    pub oom_score_adj: Option<i32>,
    pub scheduler: Option<Scheduler>,
    pub io_priority: Option<IoPriority>,
    /// The CPU affinity of exec'd processes.
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

/// `process.consoleSize`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ConsoleSize {
    pub height: u64,
    pub width: u64,
}

impl ConsoleSize {
    /// As the kernel takes it; `None` where one of the two is not given. runc cuts larger numbers off, too.
    pub(crate) fn get(&self) -> Option<libc::winsize> {
        (self.height != 0 && self.width != 0).then_some(libc::winsize {
            ws_row: self.height as u16,
            ws_col: self.width as u16,
            ws_xpixel: 0,
            ws_ypixel: 0,
        })
    }
}

/// `process.user`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct User {
    /// The user id in the container.
    pub uid: u32,
    /// The group id in the container.
    pub gid: u32,
    /// The umask; only the container's own process decides it, as in runc.
    pub umask: Option<u32>,
    #[serde(deserialize_with = "null_is_default")]
    pub additional_gids: Vec<u32>,
}

/// `process.capabilities`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Capabilities {
    #[serde(deserialize_with = "null_is_default")]
    pub bounding: Names,
    #[serde(deserialize_with = "null_is_default")]
    pub effective: Names,
    #[serde(deserialize_with = "null_is_default")]
    pub inheritable: Names,
    #[serde(deserialize_with = "null_is_default")]
    pub permitted: Names,
    #[serde(deserialize_with = "null_is_default")]
    pub ambient: Names,
}

/// One entry of `process.rlimits`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_…`.
    #[serde(rename = "type")]
    pub kind: String,
    pub soft: u64,
    pub hard: u64,
}

/// `process.scheduler`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Scheduler {
    /// `SCHED_…`.
    pub policy: String,
    /// The nice value, for SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// The priority, for SCHED_FIFO and SCHED_RR.
    pub priority: i32,
    /// `SCHED_FLAG_…`.
    #[serde(deserialize_with = "null_is_default")]
    pub flags: Vec<String>,
    /// SCHED_DEADLINE: runtime, nanoseconds.
    pub runtime: u64,
    /// SCHED_DEADLINE: deadline, nanoseconds.
    pub deadline: u64,
    /// SCHED_DEADLINE: period, nanoseconds.
    pub period: u64,
}

/// `process.ioPriority`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_…`.
    pub class: String,
    /// 0 (highest) to 7.
    pub priority: i32,
}

/// `process.execCPUAffinity`: CPU lists such as `0-3,7`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CpuAffinity {
    /// Before the process joins the container's cgroup.
    #[serde(deserialize_with = "null_is_default")]
    pub initial: String,
    /// After it has joined.
    #[serde(rename = "final", deserialize_with = "null_is_default")]
    pub last: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Linux {
    /// The seccomp profile, kept as text until a process needs it: compiled it is smaller.
    pub seccomp: Option<Box<RawValue>>,
    pub personality: Option<Personality>,
    /// Intel RDT: set means that a process must join a resctrl group.
    pub intel_rdt: Option<serde::de::IgnoredAny>,
    /// A NUMA memory policy that a process must set for itself.
    pub memory_policy: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
    /// No flag is supported by any runtime.
    #[serde(deserialize_with = "null_is_default")]
    pub flags: Vec<String>,
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_lists_and_unknown_names_parse() {
        let spec: Spec = serde_json::from_str(
            r#"{"process":{"args":null,"env":["A=1"],"capabilities":{"bounding":["CAP_FROM_THE_FUTURE"],"ambient":null},
                "user":{"uid":1,"gid":2,"additionalGids":null}},"linux":{"seccomp":null,"resources":{"x":1}},"annotations":null}"#,
        )
        .unwrap();
        assert!(spec.process.args.is_empty());
        assert_eq!(
            spec.process.capabilities.unwrap().bounding,
            Names::default()
        );
        assert!(spec.linux.seccomp.is_none());
    }
}
