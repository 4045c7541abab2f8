//! What a client does after a fault, and what is left on the node then.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::Error;
use super::life::{LAST_WORDS, Life};
use crate::containerd::remains;
use crate::wait;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// How long podhook may take: a shim that containerd has lost before it was a shim ends by itself after a minute.
const PATIENCE: Duration = Duration::from_secs(90);
/// The original is not waited for: what it leaves stays.
const IMPATIENCE: Duration = Duration::from_secs(6);

/// Where containerd has its bundles, below its state, and what a shim may keep, below its root.
const TASKS: &str = "io.containerd.runtime.v2.task";

/// Where the node is clean again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clean {
    /// After the client had deleted the container.
    Deleted,
    /// After containerd was started again.
    Restarted,
    /// Nowhere: what is left.
    Never(Vec<String>),
}

/// Ends a container that runs as a client does: SIGTERM, and a wait for the end it has by itself.
pub fn stop(life: &mut Life<'_>) -> Result<(), Error> {
    let is_running = |life: &Life<'_>| {
        let state = life.tasks.state(&life.id, "");
        state.is_ok_and(|state| state.status == "RUNNING")
    };
    if is_running(life) {
        // A shell without its trap, as the first process of its namespace, takes no SIGTERM.
        let _ = wait::until_true("its trap", wait::SOON, || {
            life.trace.has("ready") || !is_running(life)
        });
    }
    if is_running(life)
        && let Err(error) = life.tasks.kill(&life.id, "", SIGTERM, false)
        // It may have been on its end.
        && is_running(life)
    {
        return Err(error.into());
    }
    // A hook that has failed ends its container as well.
    let _ = wait::until_true("the end", wait::SOON, || {
        let _ = life.reader.has(LAST_WORDS);
        !is_running(life)
    });
    Ok(())
}

/// Kills and deletes what there is, until there is nothing.
pub fn delete(life: &mut Life<'_>) -> Result<(), Error> {
    let mut last = String::new();
    let gone = wait::until_true("the deletion", PATIENCE, || {
        let _ = life.reader.has("");
        match life.tasks.state(&life.id, "") {
            Err(error) if error.code() == tonic::Code::NotFound => return true,
            Err(error) => last = error.to_string(),
            Ok(state) if state.status == "STOPPED" => match life.tasks.delete(&life.id, "") {
                Ok(status) => life.answers.push(("Delete at last", Ok(Some(status)))),
                Err(error) => last = error.to_string(),
            },
            Ok(_) => {
                if let Err(error) = life.tasks.kill(&life.id, "", SIGKILL, true) {
                    last = error.to_string();
                }
            }
        }
        false
    });
    gone.map_err(|error| format!("{error}: {last}"))?;
    let ctr = life.node.ctr();
    wait::until_true("the container's deletion", PATIENCE, || {
        let deleted = ctr.try_run(&["container", "delete", &life.id]);
        let said = deleted.map(|output| (output.status, output.stderr));
        said.is_ok_and(|(status, said)| status == 0 || said.contains("not found"))
    })?;
    // It has nothing to remove any more.
    life.container = None;
    Ok(())
}

/// Waits until nothing is left of the container. What `excused` says of stays, and is not waited for.
pub fn look(
    life: &Life<'_>,
    needs_restart: bool,
    excused: impl Fn(&str) -> bool,
) -> Result<Clean, Error> {
    let patience = match life.node.shim().is_podhook() {
        true => PATIENCE,
        false => IMPATIENCE,
    };
    let soon = if needs_restart { IMPATIENCE } else { patience };
    let mut left = gone(life, IMPATIENCE.min(soon));
    remove_half_deleted(life)?;
    if left.iter().any(|left| !excused(left)) {
        left = gone(life, soon);
    }
    if left.is_empty() {
        return Ok(Clean::Deleted);
    }
    if left.iter().all(|left| excused(left)) {
        return Ok(Clean::Never(left));
    }
    life.node.containerd().crash()?;
    let left = gone(life, patience);
    Ok(match left.is_empty() {
        true => Clean::Restarted,
        false => Clean::Never(left),
    })
}

/// A containerd that is killed while it removes a bundle leaves the rest under a hidden name, which it skips when it is started,
/// and cannot remove the next bundle of that id then, whatever the shim.
fn remove_half_deleted(life: &Life<'_>) -> Result<(), Error> {
    let containerd = life.node.containerd();
    for base in ["state", "root"] {
        let tasks = containerd.dir().join(base).join(TASKS);
        let hidden = tasks
            .join(life.node.ctr().namespace())
            .join(format!(".{}", life.id));
        if hidden.exists() {
            fs::remove_dir_all(&hidden)?;
        }
    }
    Ok(())
}

fn gone(life: &Life<'_>, patience: Duration) -> Vec<String> {
    let mut found = Vec::new();
    let _ = wait::until_true("clean-up", patience, || {
        found = left(life);
        found.is_empty()
    });
    found
}

/// Bundle, shim, socket, cgroups, mounts, runtime state, processes, temporary files.
fn left(life: &Life<'_>) -> Vec<String> {
    let containerd = life.node.containerd();
    let key = (life.node.ctr().namespace().to_owned(), life.id.clone());
    let mut left = containerd.left_of(&BTreeSet::from([key.clone()]));
    let work = containerd.dir().join("root").join(TASKS);
    let work = work.join(&key.0).join(&key.1);
    if work.symlink_metadata().is_ok() {
        left.push(format!("folder {}", work.display()));
    }
    for pid in remains::processes_with(&life.id) {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        left.push(format!("process {pid} {line}"));
    }
    // containerd's TMPDIR, and so the shims'.
    let temporary = fs::read_dir(containerd.dir().join("tmp"));
    for entry in temporary.into_iter().flatten().flatten() {
        left.push(format!("temporary file {}", entry.path().display()));
    }
    left
}

/// What something that is left is, in one word.
#[must_use]
pub fn kind(left: &str) -> &'static str {
    match left.split_once(' ') {
        Some(("mount", _)) => "mount",
        Some(("cgroup", _)) => "cgroup",
        Some(("process", _)) => "process",
        Some(("folder", _)) => "bundle",
        Some(("temporary", _)) => "temporary file",
        _ if left.contains("/containerd/s/") => "socket",
        _ if left.contains("/containerd/runc/") => "runtime state",
        _ => "bundle",
    }
}
