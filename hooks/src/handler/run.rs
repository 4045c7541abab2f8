//! One entrance for every kind of handler.

use std::fs::File;
use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::pin::pin;
use std::sync::Arc;

use super::exec::{self, Fallback};
use super::net::{self, HttpGet, HttpOutcome, Network, Statuses};
use super::sleep;
use super::{HookRun, Outcome, Rest, Sink};
use crate::exec::{Children, Container};
use crate::lifecycle::Handler;
use crate::moment::Moment;

/// The container that a hook is for, as far as handlers need it. Nothing is asked for but by a handler that
/// needs it.
pub trait Target: Sync {
    /// What exec handlers join; the error is a reason for users.
    ///
    /// # Errors
    /// When the container cannot be joined.
    fn container(&self) -> Result<Arc<Container>, String>;

    /// Where what requests need of the container is opened; the error is a reason for users.
    ///
    /// # Errors
    /// When the container has no network any more.
    fn place(&self) -> Result<Place, String>;

    /// Waits for the processes of exec handlers.
    fn children(&self) -> Arc<dyn Children>;

    /// Where output goes besides the result.
    fn sink(&self) -> Option<Sink>;

    /// What runs a command where the engine does not.
    fn fallback(&self) -> Option<&dyn Fallback>;

    /// The statuses that are a success of `httpGet`.
    fn http_success(&self) -> Statuses;

    /// Takes the output of what a hook has left running.
    fn left_running(&self, rest: Rest);
}

/// Where a container's requests go out, and its root, in which its names are looked up.
#[derive(Debug)]
pub struct Place {
    netns: OwnedFd,
    root: OwnedFd,
}

impl Place {
    /// That of a process. The caller makes sure afterwards that the process still is the one that was meant.
    ///
    /// # Errors
    /// A reason for users, with the path.
    pub fn of(pid: u32) -> Result<Self, String> {
        let open = |name: &str, flags| {
            let path = format!("/proc/{pid}/{name}");
            let file = File::options().read(true).custom_flags(flags).open(&path);
            file.map(OwnedFd::from)
                .map_err(|e| format!("open {path}: {e}"))
        };
        Ok(Self {
            netns: open("ns/net", 0)?,
            // Opened with O_PATH: whatever the file is, opening it has no effect.
            root: open("root", libc::O_PATH | libc::O_DIRECTORY)?,
        })
    }

    fn network(&self) -> Network<'_> {
        Network {
            netns: self.netns.as_fd(),
            root: self.root.as_fd(),
        }
    }
}

/// Runs a handler to its end, or until it is aborted.
pub async fn run(
    handler: &Handler,
    target: &impl Target,
    abort: impl Future<Output = ()> + Send,
) -> HookRun {
    match handler {
        Handler::Exec { command } => in_container(command, target, abort).await,
        Handler::HttpGet {
            path,
            port,
            host,
            scheme,
            headers,
        } => {
            let request = HttpGet {
                path,
                port: *port,
                host: host.as_deref(),
                scheme: *scheme,
                headers,
            };
            let success = target.http_success();
            let get = async |place: Place| net::http_get(place.network(), &request, success).await;
            let mut result = in_network(target, get, abort).await;
            if let Some(sink) = target.sink() {
                result.dropped = sink.print(&result.output).await;
            }
            result
        }
        Handler::TcpSocket { host, port } => {
            let connect = async |place: Place| HttpOutcome {
                status: None,
                result: net::tcp_connect(place.network(), host.as_deref(), *port).await,
                body: Vec::new(),
            };
            in_network(target, connect, abort).await
        }
        Handler::Sleep { seconds } => sleep::run(u64::from(*seconds), abort).await,
    }
}

async fn in_container(
    command: &[String],
    target: &impl Target,
    abort: impl Future<Output = ()> + Send,
) -> HookRun {
    let container = match target.container() {
        Ok(container) => container,
        Err(reason) => return HookRun::failed(reason),
    };
    let (children, sink) = (target.children(), target.sink());
    let (result, rest) = exec::run_with_fallback(
        &container,
        command,
        &children,
        abort,
        sink,
        target.fallback(),
    )
    .await;
    if let Some(rest) = rest {
        target.left_running(rest);
    }
    result
}

/// Runs a handler that sends from the container's network namespace.
async fn in_network(
    target: &impl Target,
    send: impl AsyncFnOnce(Place) -> HttpOutcome,
    abort: impl Future<Output = ()> + Send,
) -> HookRun {
    let began = Moment::now();
    let place = match target.place() {
        Ok(place) => place,
        Err(reason) => return HookRun::failed(reason),
    };
    let abort = pin!(abort);
    tokio::select! {
        // An answer that is there came in time.
        biased;
        outcome = send(place) => {
            let ended = outcome.result.map_or_else(Outcome::Failed, |()| Outcome::Succeeded);
            let mut result = HookRun::new(ended, began);
            (result.http_status, result.output) = (outcome.status, outcome.body);
            result
        }
        // Dropping the request closes its socket.
        () = abort => HookRun::new(Outcome::Aborted, began),
    }
}
