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
use podhook_hooks::{config_json, deadline};

use super::lost;
use super::members::Members;
use crate::cgroup::{Leftover, scope};
use crate::containerd::options::Options;
use crate::containerd::socket;
use crate::containerd::timestamp::timestamp;
use crate::error::{Error, Result};
use crate::host::exit_status::{ExitStatus, KILLED};
use crate::host::{bundle, members, passing, pidfd};
use crate::runtime::Presence;
use crate::{mount, runtime, sandbox};

/// How long all of it may take: containerd gives `delete` 5 s, kills it then, and asks no second time.
const LIMIT: Duration = Duration::from_secs(4);
/// Until when the OCI runtime's calls that were under way are waited for.
const RUNTIME_LIMIT: Duration = Duration::from_millis(1250);
/// Until when the OCI runtime's own `delete` is waited for. A slow one goes on after that, and after this process.
const DELETE_LIMIT: Duration = Duration::from_secs(3);
/// Until when what was killed may take to end.
const KILL_LIMIT: Duration = Duration::from_millis(3500);
/// How long the node's journal may take.
const JOURNAL_LIMIT: Duration = Duration::from_millis(500);
/// How long systemd may take to stop a scope.
const SCOPE_LIMIT: Duration = Duration::from_secs(1);

const CALLS_LEFT: &str = "processes of the OCI runtime are left, and may make more";

/// Runs the verb; returns what to print. Everything is tried, and what does not work is said on
/// stderr, which containerd logs. It is no error: containerd would keep the bundle for good then.
pub fn delete(flags: &Flags) -> Result<Vec<u8>> {
    let begun = Instant::now();
    let bundle = bundle_of(flags)?;
    let members = Members::delete(flags, &bundle);
    let origin = members::origin(&bundle);
    let options = Options::load(&bundle).unwrap_or_else(|e| {
        warn(&e);
        Options::default()
    });
    let pid: u32 = fs::read_to_string(bundle.join(bundle::INIT_PID))
        .ok()
        .and_then(|pid| pid.trim().parse().ok())
        .unwrap_or(0);
    let cgroups_path = config_json::cgroups_path(&bundle);
    let leftover = Leftover::of(&cgroups_path, options.systemd_cgroup);
    let neighbour = match leftover.exists() {
        true => leftover.shared_with(bundle::others(&origin)),
        false => None,
    };
    // Usually the shim has done it: containerd waits for this after every Delete too, and an OCI runtime
    // takes its time to find nothing.
    let orphan = Orphan {
        flags,
        bundle: &bundle,
        origin: &origin,
        options: &options,
        cgroups_path: &cgroups_path,
        leftover: &leftover,
        begun,
    };
    let is_lost = !bundle::is_deleted(&bundle);
    if let Some(neighbour) = neighbour {
        orphan.end_beside(&neighbour, pid.cast_signed());
    } else if bundle::is_deleted(&bundle) {
        orphan.stop_scope();
        if let Err(e) = leftover.remove(Instant::now()) {
            warn(&format_args!("the container's cgroup: {e}"));
        }
    } else {
        orphan.end();
    }
    for unmounted in [
        mount::unmount_all(&origin.join("rootfs")),
        sandbox::unmount(&origin),
    ] {
        if let Err(e) = unmounted {
            warn(&e);
        }
    }
    if let Some(address) = bundle::address(&bundle)
        && let Err(e) = socket::remove_stale(&address)
    {
        warn(&e);
    }
    members.finish(flags, &bundle, begun);
    if let Err(e) = members::forget(&bundle) {
        warn(&e);
    }
    // Of a container that ran on when its shim died nothing is known but that it was killed, just now.
    let exit = ExitStatus::read(&bundle).unwrap_or_else(|e| {
        warn(&e);
        None
    });
    let exit = exit.unwrap_or_else(|| ExitStatus {
        pid,
        status: KILLED,
        at: SystemTime::now(),
    });
    if is_lost {
        let limit = JOURNAL_LIMIT.min(orphan.left_until(LIMIT));
        lost::tell(&origin, &options, &exit, limit);
    }
    let response = DeleteResponse {
        pid: exit.pid,
        exit_status: exit.status,
        exited_at: Some(timestamp(exit.at)).into(),
        ..Default::default()
    };
    response
        .write_to_bytes()
        .map_err(Error::failed("encode the response"))
}

/// A container whose shim is gone, and what `delete` needs to end it.
struct Orphan<'a> {
    flags: &'a Flags,
    bundle: &'a Path,
    /// Where the bundle was, in the words of the OCI runtime's calls.
    origin: &'a Path,
    options: &'a Options,
    cgroups_path: &'a str,
    leftover: &'a Leftover,
    begun: Instant,
}

impl Orphan<'_> {
    /// Ends and removes it, and the calls of the OCI runtime that were under way when its shim was killed.
    fn end(&self) {
        let deadline = deadline::after(self.begun, KILL_LIMIT);
        let presence = Presence::of(self.bundle);
        let is_over = |deadline| {
            // They ended with the shim. What they had started may not have: crun makes a container in a child.
            let ours = |pid| runtime::names(pid, self.origin) || self.is_member(pid);
            presence.as_ref().is_none_or(|it| it.end(deadline, ours))
        };
        // This comes first: a call that still runs could make more of what is removed below.
        let mut over = is_over(deadline::after(self.begun, RUNTIME_LIMIT));
        let deleted = match sandbox::is_bundle(self.bundle) {
            // No OCI runtime knows it.
            true => false,
            false => self.delete_by_runtime().inspect_err(|e| warn(e)).is_ok(),
        };
        if !deleted && !self.leftover.kill(deadline) {
            warn(&"processes of the container are left, SIGKILL or not");
        }
        over = over || is_over(deadline);
        if !over {
            warn(&CALLS_LEFT);
        }
        self.stop_scope();
        if let Err(e) = self.leftover.remove(deadline) {
            warn(&e);
        }
    }

    /// The same where another container is in the cgroup: that stays, and so does all that may be the other's.
    fn end_beside(&self, neighbour: &str, init: i32) {
        let ours = |pid| runtime::names(pid, self.origin);
        let limit = deadline::after(self.begun, RUNTIME_LIMIT);
        if Presence::of(self.bundle).is_some_and(|presence| !presence.end(limit, ours)) {
            warn(&CALLS_LEFT);
        }
        if bundle::is_deleted(self.bundle) {
            return;
        }
        let Err(e) = self.delete_by_runtime() else {
            return;
        };
        warn(&e);
        warn(&format_args!(
            "container {neighbour} is in this container's cgroup: only init is killed, with its pid namespace"
        ));
        // Still a member after it is held: the pidfd is of that member.
        if let Ok(held) = pidfd::open(init)
            && self.is_member(init)
        {
            let _ = pidfd::send_signal(&held, libc::SIGKILL);
            if !pidfd::ends_within(&held, self.left_until(KILL_LIMIT)) {
                warn(&"init is left, SIGKILL or not");
            }
        }
    }

    fn is_member(&self, pid: i32) -> bool {
        self.leftover.pids().is_ok_and(|pids| pids.contains(&pid))
    }

    /// What is left of the time until `limit`.
    fn left_until(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.begun.elapsed())
    }

    /// What the OCI runtime has left of a cgroup that systemd keeps is systemd's to stop first: it may make it anew
    /// otherwise.
    fn stop_scope(&self) {
        let limit = SCOPE_LIMIT.min(self.left_until(LIMIT));
        if self.options.systemd_cgroup
            && self.leftover.exists()
            && let Err(e) = scope::stop(self.cgroups_path, limit)
        {
            warn(&format_args!("stop the container's scope: {e}"));
        }
    }

    /// The OCI runtime's `delete --force`. One that is only slow is not killed: it alone can remove its state, with which no
    /// other container can have the id. One that was killed, or has crashed, may have left that: it is called
    /// once more.
    fn delete_by_runtime(&self) -> Result<()> {
        match self.call_delete() {
            Err(Error::Runtime(failed)) if failed.died => {
                warn(&failed);
                self.call_delete()
            }
            other => other,
        }
    }

    fn call_delete(&self) -> Result<()> {
        let binary = runtime::binary(self.options);
        // It may outlive the bundle, which containerd removes: without a folder for its log it would not even begin.
        let log = Path::new("/dev/null");
        let mut command = Command::new(binary);
        command
            .args(runtime::global_args(
                self.options,
                &self.flags.namespace,
                log,
            ))
            .args(["delete", "--force", &self.flags.id])
            .env_remove("NOTIFY_SOCKET");
        let deadline = deadline::after(self.begun, DELETE_LIMIT);
        let run = || runtime::output(&mut command, deadline, runtime::Late::Leave);
        let ended = passing::insist(run, passing::is_passing);
        let (status, [_, stderr]) = ended.map_err(Error::io("run", binary))?;
        if status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&stderr);
        let message = format!("{binary} delete: {status}: {}", stderr.trim());
        match runtime::call_failed("delete", message, runtime::has_died(status.code())) {
            failed if failed.no_container => Ok(()),
            failed => Err(failed.into()),
        }
    }
}

pub(super) fn warn(problem: &dyn std::fmt::Display) {
    // Not eprintln, which panics where stderr has no reader.
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
