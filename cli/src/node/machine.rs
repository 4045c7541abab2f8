//! What of the node goes into a pod.

use std::path::Path;

/// The node's name: its host name.
#[must_use]
pub fn name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The node's memory in bytes (kubelet: `MachineInfo.MemoryCapacity`).
#[must_use]
pub fn memory_capacity() -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok());
    kibibytes.map_or(i64::MAX, |k| k.saturating_mul(1024))
}

/// The node's resolver configuration.
#[must_use]
pub fn resolv_conf() -> String {
    std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}

/// A fresh UID for a pod.
///
/// # Errors
/// Without /proc.
pub fn new_uid() -> std::io::Result<String> {
    let uuid = std::fs::read_to_string(Path::new("/proc/sys/kernel/random/uuid"))?;
    Ok(uuid.trim().to_owned())
}
