//! The scope that systemd has for a container's cgroup.
//!
//! A cgroup that is removed without a word to systemd while that reloads its configuration is made anew by it, and
//! the scope runs on, without a process, until something stops it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

use podhook_hooks::deadline;
use podhook_hooks::exec::Children;

use crate::error::{Error, Result};
use crate::host::helper;

/// systemd's client. It waits for a reload to be over.
const PROGRAM: &str = "systemctl";
const PAUSE: Duration = Duration::from_millis(10);
/// How long systemd may take to make one.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Has systemd stop the scope of a container with this `linux.cgroupsPath`, and waits for that no longer than `limit`:
/// what takes longer goes on.
///
/// # Errors
/// When systemd cannot be asked.
pub fn stop(cgroups_path: &str, limit: Duration) -> io::Result<()> {
    match unit(cgroups_path) {
        Some(unit) => stop_with(PROGRAM, &unit, limit),
        None => Ok(()),
    }
}

/// systemd's bus, and its call that makes a scope of processes.
const BUS: &str = "busctl";
const MANAGER: [&str; 4] = [
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
    "StartTransientUnit",
];

/// Has systemd make the scope with process `pid` in it, and waits until it is there.
pub async fn start(cgroups_path: &str, pid: u32, children: &dyn Children) -> Result<()> {
    let unit = unit(cgroups_path)
        .ok_or_else(|| Error::InvalidArgument(format!("{cgroups_path:?} names no scope")))?;
    let slice = cgroups_path.split(':').next().unwrap_or_default();
    let mut client = Command::new(BUS);
    client
        .args(["--system", "--quiet", "call"])
        .args(MANAGER)
        .args(["ssa(sv)a(sa(sv))", &unit, "replace", "5"])
        .args(["Slice", "s", slice])
        .args(["PIDs", "au", "1", &pid.to_string()])
        .args(["Delegate", "b", "true"])
        .args(["DefaultDependencies", "b", "false"])
        .args(["CollectMode", "s", "inactive-or-failed"])
        .arg("0");
    helper::run(BUS, client, children).await?;
    // Its job is not over with the answer.
    let end = deadline::after(Instant::now(), START_LIMIT);
    let file = format!("/proc/{pid}/cgroup");
    loop {
        let cgroups = std::fs::read_to_string(&file);
        if cgroups.map_err(Error::io("read", &file))?.contains(&unit) {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(Error::Missing("systemd made no scope in time"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn stop_with(program: &str, unit: &str, limit: Duration) -> io::Result<()> {
    let end = deadline::after(Instant::now(), limit);
    let mut client = Command::new(program)
        .args(["--no-ask-password", "stop", unit])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // A unit that systemd does not know (any more) is no error.
        .stderr(Stdio::null())
        .spawn()?;
    while client.try_wait()?.is_none() && Instant::now() < end {
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// The name of the scope, as every OCI runtime makes it of `SLICE:PREFIX:NAME`.
fn unit(cgroups_path: &str) -> Option<String> {
    let parts: Vec<_> = cgroups_path.split(':').collect();
    let [_, prefix, name] = parts[..] else {
        return None;
    };
    // A slice is not the container's own.
    (!name.ends_with(".slice")).then(|| format!("{prefix}-{name}.scope"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_that_of_the_oci_runtime() {
        let pod = "kubepods-pod1.slice:cri-containerd:c1";
        assert_eq!(unit(pod).as_deref(), Some("cri-containerd-c1.scope"));
        assert_eq!(unit(":x:c1").as_deref(), Some("x-c1.scope"));
        assert_eq!(unit("a.slice:x:b.slice"), None);
        assert_eq!(unit("/k8s.io/c1"), None);
        assert_eq!(unit(""), None);
    }

    #[test]
    fn a_systemd_that_hangs_is_waited_for_no_longer_than_that() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("hangs").display().to_string();
        // Not by this process: one that another test forks would have it open for writing.
        let script =
            r#"printf '#!/bin/sh\nwhile [ -e "$0" ]; do sleep 0.1; done\n' > "$0"; chmod +x "$0""#;
        let made = Command::new("sh").args(["-c", script, &program]).status();
        assert!(made.unwrap().success());
        stop_with(&program, "c1.scope", Duration::from_millis(50)).unwrap();
        let missing = stop_with("/no/such/systemctl", "c1.scope", Duration::ZERO);
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
