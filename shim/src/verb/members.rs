//! The other containers of a shim that is gone. With version 3 of the task service containerd 2.0 to 2.3 calls `delete`
//! for a pod's sandbox alone and forgets the rest (containerd#10727): they would run on. Later ones call it for each, but
//! may have removed the bundle by then. So the sandbox's `delete` calls the verb for each container that the shim has
//! kept (`host::members`).
//!
//! A sandbox can end before its pod's other containers do, and is deleted then, once and for all. Where containerd
//! would do nothing about a shim that is killed after that, `delete` leaves a process that waits for its end: `watch`.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use containerd_shim::Flags;
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::events::task::TaskExit;
use containerd_shim_protos::protobuf::Message;
use podhook_hooks::deadline;
use tokio::runtime;

use super::delete::warn;
use crate::containerd::events::{Events, Publisher};
use crate::containerd::{socket, version};
use crate::error::Result;
use crate::host::{bundle, members, pidfd};

/// Since this one containerd itself calls `delete` for each container, and publishes its exit.
const CLEANS_UP: (u32, u32) = (2, 4);
/// Until when the containers may take to be deleted: within the 5 s that containerd gives `delete`.
const LIMIT: Duration = Duration::from_millis(4250);
/// How long containerd may take to say its version, and to take the events.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// How long `watch` waits where it cannot wait for the shim's lock.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// Calls of the verb that are under way, each with its container's id.
pub struct Members {
    calls: Vec<(String, Child)>,
    shim_is_gone: bool,
}

impl Members {
    /// Calls the verb for the containers that the shim with this bundle has kept, if that is gone: containerd calls it
    /// after every deletion of a sandbox, whose other containers may run on.
    pub fn delete(flags: &Flags, bundle: &Path) -> Self {
        let kept = members::kept(bundle);
        let address = bundle::address(bundle).unwrap_or_default();
        if !socket::has_listener(&address) && !members::is_held(bundle) {
            return Self::begin(flags, kept);
        }
        if !kept.is_empty()
            && !containerd_cleans_up(flags)
            && let Err(e) = call(flags, "watch", &flags.id, bundle, |command| {
                // It outlives this verb, whose output containerd reads to its end.
                command
                    .args(["-socket", &address])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .process_group(0)
            })
        {
            warn(&format_args!("watch the shim: {e}"));
        }
        Self {
            calls: Vec::new(),
            shim_is_gone: false,
        }
    }

    fn begin(flags: &Flags, kept: Vec<(String, PathBuf)>) -> Self {
        let call = |(id, member): (String, PathBuf)| {
            let child = call(flags, "delete", &id, &member, |command| {
                command.stdout(Stdio::piped())
            });
            match child {
                Ok(child) => Some((id, child)),
                Err(e) => {
                    warn(&format_args!("delete of container {id}: {e}"));
                    None
                }
            }
        };
        Self {
            calls: kept.into_iter().filter_map(call).collect(),
            shim_is_gone: true,
        }
    }

    /// Waits for them, which have begun then, forgets what the shim with this bundle has kept, and publishes the
    /// containers' exits, where containerd does not.
    pub fn finish(self, flags: &Flags, bundle: &Path, begun: Instant) {
        let deadline = deadline::after(begun, LIMIT);
        let exits: Vec<_> = self
            .calls
            .into_iter()
            .filter_map(|(id, child)| {
                let answer = answer(child, deadline);
                let answer = answer.inspect_err(|e| {
                    warn(&format_args!("delete of container {id}: {e}"));
                });
                Some(exit(id, answer.ok()?))
            })
            .collect();
        if self.shim_is_gone
            && let Err(e) = members::forget_all(bundle)
        {
            warn(&e);
        }
        let address = env::var("TTRPC_ADDRESS").unwrap_or_default();
        if exits.is_empty() || address.is_empty() || containerd_cleans_up(flags) {
            return;
        }
        let published = block_on(async {
            let publisher = Publisher::start(&address, &flags.namespace);
            let events: &dyn Events = &publisher;
            for exit in exits {
                events.publish(exit);
            }
            publisher.flush(ANSWER_LIMIT).await;
            publisher.pending()
        });
        match published {
            Ok(0) => {}
            Ok(left) => warn(&format_args!("{left} exits were not taken by containerd")),
            Err(e) => warn(&format_args!("publish exits: {e}")),
        }
    }
}

fn containerd_cleans_up(flags: &Flags) -> bool {
    let asked = block_on(async {
        let asked = version::ask(Path::new(&flags.address));
        tokio::time::timeout(ANSWER_LIMIT, asked).await
    });
    match asked {
        Ok(Ok(Ok(version))) => version.is_some_and(|version| version >= CLEANS_UP),
        // Nobody is there to take an event either.
        _ => true,
    }
}

/// `watch`: waits until the shim with this bundle is gone, and deletes what it has left.
pub fn watch(flags: &Flags) -> Result<()> {
    let bundle = Path::new(&flags.bundle);
    while members::wait_unheld(bundle)? && socket::has_listener(&flags.socket) {
        thread::sleep(WATCH_PAUSE);
    }
    let begun = Instant::now();
    let members = Members::begin(flags, members::kept(bundle));
    members.finish(flags, bundle, begun);
    socket::remove_stale(&flags.socket)
}

/// Calls a verb of this program.
fn call(
    flags: &Flags,
    verb: &str,
    id: &str,
    bundle: &Path,
    set: impl FnOnce(&mut Command) -> &mut Command,
) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["-namespace", &flags.namespace, "-address", &flags.address])
        .args(["-publish-binary", &flags.publish_binary, "-id", id])
        .arg("-bundle")
        .arg(bundle)
        .stdin(Stdio::null());
    set(&mut command).arg(verb).spawn()
}

/// What a call has printed, once it has ended.
fn answer(mut child: Child, deadline: Instant) -> io::Result<DeleteResponse> {
    let held = pidfd::open(child.id().cast_signed()).map_err(io::Error::other)?;
    let left = deadline.saturating_duration_since(Instant::now());
    if !pidfd::ends_within(&held, left) {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "takes too long"));
    }
    let mut printed = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_end(&mut printed)?;
    }
    match child.wait()? {
        status if status.success() => {
            DeleteResponse::parse_from_bytes(&printed).map_err(io::Error::other)
        }
        status => Err(io::Error::other(status.to_string())),
    }
}

fn exit(id: String, answer: DeleteResponse) -> TaskExit {
    TaskExit {
        container_id: id.clone(),
        id,
        pid: answer.pid,
        exit_status: answer.exit_status,
        exited_at: answer.exited_at,
        ..Default::default()
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    Ok(runtime.block_on(work))
}
