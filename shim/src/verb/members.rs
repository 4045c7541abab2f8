//! The other containers of a shim that is gone. With version 3 of the task service containerd 2.0 to 2.3 calls `delete`
//! for a pod's sandbox alone and forgets the rest (containerd#10727): they would run on. Later ones call it for each, but
//! may have removed the bundle by then. So the sandbox's `delete` calls the verb for each container that the shim has
//! kept (`host::members`).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io};

use containerd_shim::Flags;
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::events::task::TaskExit;
use containerd_shim_protos::protobuf::Message;
use tokio::runtime;

use super::delete::warn;
use crate::containerd::events::{Events, Publisher};
use crate::containerd::version;
use crate::host::{members, pidfd};

/// Since this one containerd itself publishes the exit of each container.
const PUBLISHES: (u32, u32) = (2, 4);
/// How long containerd may take to say its version, and to take the events.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// Calls of the verb that are under way, each with its container's id.
pub struct Members(Vec<(String, Child)>);

impl Members {
    /// Calls the verb for the containers that the shim with this bundle has kept.
    pub fn delete(flags: &Flags, bundle: &Path) -> Self {
        let call = |(id, member): (String, PathBuf)| match call(flags, &member, &id) {
            Ok(child) => Some((id, child)),
            Err(e) => {
                warn(&format_args!("delete of container {id}: {e}"));
                None
            }
        };
        Self(members::kept(bundle).into_iter().filter_map(call).collect())
    }

    /// Waits for them and publishes the containers' exits, where containerd does not.
    pub fn finish(self, flags: &Flags, deadline: Instant) {
        let exits: Vec<_> = self
            .0
            .into_iter()
            .filter_map(|(id, child)| {
                let answer = answer(child, deadline);
                let answer = answer.inspect_err(|e| {
                    warn(&format_args!("delete of container {id}: {e}"));
                });
                Some(exit(id, answer.ok()?))
            })
            .collect();
        let address = env::var("TTRPC_ADDRESS").unwrap_or_default();
        if exits.is_empty() || address.is_empty() || containerd_publishes(flags) {
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

fn containerd_publishes(flags: &Flags) -> bool {
    let asked = block_on(async {
        let asked = version::ask(Path::new(&flags.address));
        tokio::time::timeout(ANSWER_LIMIT, asked).await
    });
    match asked {
        Ok(Ok(Ok(version))) => version.is_some_and(|version| version >= PUBLISHES),
        // Nobody is there to take an event either.
        _ => true,
    }
}

fn call(flags: &Flags, member: &Path, id: &str) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .args(["-namespace", &flags.namespace, "-address", &flags.address])
        .args(["-publish-binary", &flags.publish_binary, "-id", id])
        .arg("-bundle")
        .arg(member)
        .arg("delete")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
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
