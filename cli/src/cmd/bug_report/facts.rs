//! What machine it is.

use std::fmt::Write as _;

use crate::setup::place::Place;
use crate::setup::root::Root;
use crate::setup::units;

/// Files that say what the kernel is and lets a node do.
const FILES: [&str; 20] = [
    "/etc/os-release",
    "/proc/version",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/cgroups",
    "/proc/self/cgroup",
    "/sys/fs/cgroup/cgroup.controllers",
    "/sys/fs/cgroup/cgroup.subtree_control",
    "/sys/kernel/security/lsm",
    "/sys/fs/selinux/enforce",
    "/proc/sys/kernel/seccomp/actions_avail",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/threads-max",
    "/proc/sys/kernel/keys/maxkeys",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/fs/file-nr",
    "/proc/sys/fs/inotify/max_user_instances",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
];
/// Of the kernel's command line, which may hold anything.
const PARAMETERS: [&str; 8] = [
    "apparmor",
    "cgroup",
    "lsm",
    "psi",
    "security",
    "selinux",
    "swapaccount",
    "systemd.",
];
/// Of /proc/meminfo.
const MEMORY: [&str; 4] = ["MemTotal:", "MemAvailable:", "SwapTotal:", "SwapFree:"];
/// Of a unit, whose environment and command line may hold anything.
const SETTINGS: [&str; 8] = [
    "Delegate",
    "KillMode",
    "LimitNOFILE",
    "LimitNPROC",
    "OOMScoreAdjust",
    "Restart",
    "TasksMax",
    "Type",
];

/// Kernel, cgroups, memory, and what systemd lets the places have.
pub(super) fn machine(root: &Root, places: &[Place]) -> String {
    let mut text = String::new();
    let mut section = |name: &str, lines: &str| {
        let _ = writeln!(text, "== {name}\n{}\n", lines.trim_end());
    };
    for path in FILES {
        if let Some(content) = root.text(path) {
            section(path, &content);
        }
    }
    let chosen = |path: &str, keep: &dyn Fn(&str) -> bool, words: bool| {
        let content = root.text(path).unwrap_or_default();
        let parts: Vec<&str> = match words {
            true => content
                .split_whitespace()
                .filter(|part| keep(part))
                .collect(),
            false => content.lines().filter(|part| keep(part)).collect(),
        };
        parts.join(if words { " " } else { "\n" })
    };
    let starts = |part: &str, with: &[&str]| with.iter().any(|start| part.starts_with(start));
    let parameters = chosen("/proc/cmdline", &|part| starts(part, &PARAMETERS), true);
    section(
        "/proc/cmdline, what is about cgroups and security",
        &parameters,
    );
    let memory = chosen("/proc/meminfo", &|line| starts(line, &MEMORY), false);
    section("/proc/meminfo", &memory);
    let mounts = chosen(
        "/proc/self/mountinfo",
        &|line| line.contains(" - cgroup"),
        false,
    );
    section("/proc/self/mountinfo, cgroups", &mounts);
    for place in places {
        let settings = units::service(root, place.unit).unwrap_or_default();
        let kept = settings
            .iter()
            .filter(|(key, _)| SETTINGS.contains(&&***key));
        let lines: Vec<String> = kept.map(|(key, value)| format!("{key}={value}")).collect();
        section(&format!("unit {}", place.unit), &lines.join("\n"));
    }
    text
}
