//! `delete`: removes what a container left behind whose shim is gone (or, as containerd calls it
//! after every delete, makes sure that nothing is left).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs};

use containerd_shim::Flags;
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message;

use crate::cgroup::{Leftover, scope};
use crate::containerd::options::Options;
use crate::containerd::socket;
use crate::containerd::timestamp::timestamp;
use crate::error::{Error, Result};
use crate::host::{bundle, pidfd};
use crate::runtime::Presence;
use crate::{mount, runtime};

/// What containerd expects of a task that was killed.
const KILLED: u32 = 128 + libc::SIGKILL as u32;

/// How long all of it may take: containerd gives `delete` 5 s, kills it then, and asks no second time.
const LIMIT: Duration = Duration::from_secs(4);
/// Until when the OCI runtime's calls that were under way are waited for.
const RUNTIME_LIMIT: Duration = Duration::from_millis(1250);
/// Until when the OCI runtime's own `delete` may take.
const DELETE_LIMIT: Duration = Duration::from_millis(2500);
/// Until when what was killed may take to end.
const KILL_LIMIT: Duration = Duration::from_millis(3500);
/// How long systemd may take to stop a scope.
const SCOPE_LIMIT: Duration = Duration::from_secs(1);

/// Runs the verb; returns what to print. Everything is tried, and what does not work is said on
/// stderr, which containerd logs. It is no error: containerd would keep the bundle for good then.
pub fn delete(flags: &Flags) -> Result<Vec<u8>> {
    let begun = Instant::now();
    let bundle = bundle_of(flags)?;
    let options = Options::load(&bundle).unwrap_or_else(|e| {
        warn(&e);
        Options::default()
    });
    let pid = fs::read_to_string(bundle.join("init.pid"))
        .ok()
        .and_then(|pid| pid.trim().parse().ok())
        .unwrap_or(0);
    let cgroups_path = bundle::cgroups_path(&bundle);
    let leftover = Leftover::of(&cgroups_path, options.systemd_cgroup);
    let neighbour = match leftover.exists() {
        true => leftover.shared_with(bundle::others(&bundle)),
        false => None,
    };
    // Usually the shim has done it: containerd waits for this after every Delete too, and an OCI runtime
    // takes its time to find nothing.
    if let Some(neighbour) = neighbour {
        end_beside(
            flags,
            &bundle,
            &options,
            &leftover,
            (&neighbour, pid, begun),
        );
    } else if bundle::is_deleted(&bundle) {
        stop_scope(&options, &cgroups_path, &leftover, begun);
        if let Err((_, e)) = leftover.remove(Instant::now()) {
            warn(&format_args!("the container's cgroup: {e}"));
        }
    } else {
        end(flags, &bundle, &options, &cgroups_path, &leftover, begun);
    }
    if let Err(e) = mount::unmount_all(&bundle.join("rootfs")) {
        warn(&e);
    }
    if let Ok(address) = fs::read_to_string(bundle.join("address"))
        && let Err(e) = socket::remove_stale(address.trim())
    {
        warn(&e);
    }
    let response = DeleteResponse {
        pid,
        exit_status: KILLED,
        exited_at: Some(timestamp(SystemTime::now())).into(),
        ..Default::default()
    };
    response
        .write_to_bytes()
        .map_err(Error::failed("encode the response"))
}

/// Ends and removes a container, and the calls of the OCI runtime that were under way when its shim was killed.
fn end(
    flags: &Flags,
    bundle: &Path,
    options: &Options,
    cgroups_path: &str,
    leftover: &Leftover,
    begun: Instant,
) {
    let deadline = begun + KILL_LIMIT;
    let presence = Presence::of(bundle);
    let is_over = |deadline| {
        // They ended with the shim. What they had started may not have: crun makes a container in a child.
        let ours = |pid| {
            runtime::names(pid, bundle) || leftover.pids().is_ok_and(|pids| pids.contains(&pid))
        };
        presence.as_ref().is_none_or(|it| it.end(deadline, ours))
    };
    // First: until then a call makes more of what is looked for below.
    let mut over = is_over(begun + RUNTIME_LIMIT);
    if let Err(e) = delete_container(flags, bundle, options, begun + DELETE_LIMIT) {
        warn(&e);
        if !leftover.kill(deadline) {
            warn(&"processes of the container are left, SIGKILL or not");
        }
    }
    over = over || is_over(deadline);
    if !over {
        warn(&"processes of the OCI runtime are left, and may make more");
    }
    stop_scope(options, cgroups_path, leftover, begun);
    if let Err((dir, e)) = leftover.remove(deadline) {
        warn(&format_args!("remove cgroup {}: {e}", dir.display()));
    }
}

/// The same where another container is in the cgroup: that stays, and so does all that may be the other's.
fn end_beside(
    flags: &Flags,
    bundle: &Path,
    options: &Options,
    leftover: &Leftover,
    (neighbour, pid, begun): (&str, u32, Instant),
) {
    let presence = Presence::of(bundle);
    let ours = |pid| runtime::names(pid, bundle);
    let limit = begun + RUNTIME_LIMIT;
    if presence.is_some_and(|presence| !presence.end(limit, ours)) {
        warn(&"processes of the OCI runtime are left, and may make more");
    }
    if bundle::is_deleted(bundle) {
        return;
    }
    let Err(e) = delete_container(flags, bundle, options, begun + DELETE_LIMIT) else {
        return;
    };
    warn(&e);
    warn(&format_args!(
        "container {neighbour} is in this container's cgroup: only init is killed, with its pid namespace"
    ));
    let init = pidfd::open(pid.cast_signed());
    // Still a member after it is held: the pidfd is of that member.
    let is_member = |pid: i32| leftover.pids().is_ok_and(|pids| pids.contains(&pid));
    if let Ok(init) = init
        && is_member(pid.cast_signed())
    {
        let _ = pidfd::send_signal(&init, libc::SIGKILL);
        let left = (begun + KILL_LIMIT).saturating_duration_since(Instant::now());
        if !pidfd::ends_within(&init, left) {
            warn(&"init is left, SIGKILL or not");
        }
    }
}

/// What the OCI runtime has left of a cgroup that systemd keeps is systemd's to stop first: it may make it anew
/// otherwise.
fn stop_scope(options: &Options, cgroups_path: &str, leftover: &Leftover, begun: Instant) {
    let left = (begun + LIMIT).saturating_duration_since(Instant::now());
    if options.systemd_cgroup
        && leftover.exists()
        && let Err(e) = scope::stop(cgroups_path, SCOPE_LIMIT.min(left))
    {
        warn(&format_args!("stop the container's scope: {e}"));
    }
}

fn warn(problem: &dyn std::fmt::Display) {
    // Not eprintln, which panics where nobody reads any more.
    let _ = writeln!(io::stderr(), "containerd-shim-podhook-v1: {problem}");
}

fn bundle_of(flags: &Flags) -> Result<PathBuf> {
    if !flags.bundle.is_empty() {
        return Ok(PathBuf::from(&flags.bundle));
    }
    // Without the flag the working directory is a bundle of the same namespace.
    let cwd = env::current_dir().map_err(Error::sys("find the working directory"))?;
    Ok(cwd.parent().unwrap_or(&cwd).join(&flags.id))
}

fn delete_container(
    flags: &Flags,
    bundle: &Path,
    options: &Options,
    deadline: Instant,
) -> Result<()> {
    let mut command = Command::new(runtime::binary(options));
    command
        .args(runtime::global_args(
            options,
            &flags.namespace,
            &bundle.join("log.json"),
        ))
        .args(["delete", "--force", &flags.id])
        .env_remove("NOTIFY_SOCKET");
    let (status, [_, stderr]) = runtime::output(&mut command, deadline, runtime::Late::Leave)
        .map_err(Error::io("run", runtime::binary(options)))?;
    if status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&stderr);
    let message = format!("{} delete: {}", runtime::binary(options), stderr.trim());
    match runtime::call_failed("delete", message, false) {
        failed if failed.no_container => Ok(()),
        failed => Err(failed.into()),
    }
}
