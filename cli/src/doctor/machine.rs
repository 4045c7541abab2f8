//! Kernel, cgroups, seccomp, security modules, and what systemd lets containerd have.

use super::check::Check;
use crate::setup::place::Place;
use crate::setup::root::Root;
use crate::setup::units;
use crate::setup::version::Version;

/// The oldest that podhook is tested on.
const KERNEL: Version = Version(5, 10, 0);
/// Without these a container has no limits.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// A node's pods are many: two processes and some thirty descriptors each, at least.
const TASKS: u64 = 4096;
const FILES: u64 = 65_536;

pub(super) fn kernel(root: &Root) -> Check {
    let text = root.text("/proc/sys/kernel/osrelease");
    let text = text.as_deref().map(str::trim).unwrap_or_default();
    match Version::parse(text) {
        Some(version) if version >= KERNEL => Check::ok("kernel", format!("Linux {text}")),
        Some(_) => Check::fail(
            "kernel",
            format!("Linux {text} is older than 5.10"),
            "upgrade the kernel: pidfds and clone3 with a cgroup are needed",
        ),
        None => unknown("kernel", "the kernel's version is not known", "/proc"),
    }
}

/// Of a root folder without the kernel's own files, as an image's or one that is mounted alone, nothing is known.
fn unknown(name: &str, what: &str, folder: &str) -> Check {
    Check::warn(
        name,
        format!("{what}: no {folder} below the root"),
        "run it on the node itself, or mount its /proc and /sys there",
    )
}

pub(super) fn cgroups(root: &Root) -> Check {
    if let Some(text) = root.text("/sys/fs/cgroup/cgroup.controllers") {
        let there: Vec<&str> = text.split_whitespace().collect();
        let missing: Vec<&str> = CONTROLLERS
            .into_iter()
            .filter(|one| !there.contains(one))
            .collect();
        if missing.is_empty() {
            return Check::ok("cgroups", "v2");
        }
        return Check::fail(
            "cgroups",
            format!("v2 without {}", missing.join(", ")),
            "add cgroup_enable=memory (or what is missing) to the kernel's command line, and reboot",
        );
    }
    if root.has("/sys/fs/cgroup/memory") {
        let hybrid = root.has("/sys/fs/cgroup/unified/cgroup.controllers");
        return Check::ok("cgroups", if hybrid { "v1 beside v2" } else { "v1" });
    }
    // The kernel makes that folder.
    if !root.has("/sys/fs/cgroup") {
        return unknown("cgroups", "whether there are any is not known", "/sys");
    }
    Check::warn(
        "cgroups",
        "none are mounted at /sys/fs/cgroup",
        "mount -t cgroup2 none /sys/fs/cgroup",
    )
}

/// Seccomp and the security modules: what the engine must be able to put on a hook.
pub(super) fn seccomp(root: &Root) -> Check {
    if !root.has("/proc/sys/kernel") {
        return unknown("security", "whether it has seccomp is not known", "/proc");
    }
    let actions = root.text("/proc/sys/kernel/seccomp/actions_avail");
    let has_sys = root.has("/sys/kernel");
    let modules = root.text("/sys/kernel/security/lsm").unwrap_or_default();
    let modules: Vec<&str> = modules
        .trim()
        .split(',')
        .filter(|name| matches!(*name, "apparmor" | "selinux" | "bpf" | "landlock"))
        .collect();
    let modules = if !has_sys {
        "its security modules are not known: no /sys below the root".to_owned()
    } else if modules.is_empty() {
        "no security module".to_owned()
    } else {
        modules.join(", ")
    };
    match actions {
        Some(_) => Check::ok("security", format!("seccomp, {modules}")),
        None => Check::warn(
            "security",
            format!("the kernel has no seccomp; {modules}"),
            "containers with a seccomp profile fail with every runtime; use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

/// What systemd's unit of containerd, or of what runs it, lets the shims have.
pub(super) fn unit(root: &Root, place: &Place) -> Option<Check> {
    let name = format!("unit {}", place.unit);
    let settings = units::service(root, place.unit)?;
    let get = |key: &str| settings.get(key).map(String::as_str);
    let edit = |line: &str| format!("systemctl edit {}: [Service] {line}", place.unit);
    match get("KillMode") {
        Some("process" | "none") => {}
        mode => {
            return Some(Check::fail(
                name,
                format!(
                    "KillMode is {}: a restart of it ends every container",
                    mode.unwrap_or("control-group")
                ),
                edit("KillMode=process"),
            ));
        }
    }
    let below = |value: Option<&str>, least: u64| {
        let value = value?;
        // Soft and hard.
        let soft = value.split(':').next()?.parse::<u64>().ok()?;
        (soft < least).then(|| value.to_owned())
    };
    if let Some(value) = below(get("TasksMax"), TASKS) {
        let message = format!("TasksMax={value} is for all shims and hooks of the node together");
        return Some(Check::warn(name, message, edit("TasksMax=infinity")));
    }
    if get("TasksMax").is_none() {
        let message =
            "no TasksMax: systemd's default is for all shims and hooks of the node together";
        return Some(Check::warn(name, message, edit("TasksMax=infinity")));
    }
    if let Some(value) = below(get("LimitNOFILE"), FILES) {
        let message = format!("LimitNOFILE={value} is handed on to every container");
        return Some(Check::warn(name, message, edit("LimitNOFILE=1048576")));
    }
    if !matches!(get("Delegate"), Some("yes" | "true" | "1")) {
        let message = "no Delegate=yes: systemd may take cgroups of containers away";
        return Some(Check::warn(name, message, edit("Delegate=yes")));
    }
    Some(Check::ok(name, "KillMode, TasksMax, LimitNOFILE, Delegate"))
}
