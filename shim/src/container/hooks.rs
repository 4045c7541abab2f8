//! Runs one hook, and words its failure.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use podhook_hooks::exec as engine;
use podhook_hooks::handler::net::{self, HttpGet, Network};
use podhook_hooks::handler::{self, HookResult, Outcome, Rest, Sink};
use podhook_hooks::lifecycle::{Handler, Hook, text};
use podhook_hooks::record;
use podhook_hooks::sequence::{Advice, Cause, Phase};
use tokio::sync::oneshot;

use super::Container;
use super::runtime_exec::ByRuntime;

impl Container {
    /// Runs the handler to its end, or until it is aborted.
    pub(super) async fn execute(
        self: &Arc<Self>,
        hook: &Hook,
        aborted: oneshot::Receiver<()>,
    ) -> HookResult {
        let mut abort = pin!(async {
            // A driver that is gone aborts too.
            let _ = aborted.await;
        });
        let started_at = SystemTime::now();
        if !matches!(hook.handler, Handler::Sleep { .. }) {
            tokio::select! {
                biased;
                () = &mut abort => return HookResult::new(Outcome::Aborted, started_at),
                () = self.entrypoint() => {}
            }
        }
        match &hook.handler {
            Handler::Exec { command } => match self.engine() {
                Ok(target) => {
                    let children = Arc::clone(&self.deps.children);
                    let sink = self.hook_sink();
                    let runtime = ByRuntime(Arc::clone(self));
                    let (result, rest) = handler::exec::run_with(
                        &target,
                        command,
                        &children,
                        abort,
                        sink,
                        Some(&runtime),
                    )
                    .await;
                    match &result.by_fallback {
                        Some(reason) => log::info!("exec hook by the OCI runtime: {reason}"),
                        None => log::debug!("exec hook by the engine"),
                    }
                    if let Some(rest) = rest {
                        self.read_on(rest);
                    }
                    if let Some(why) = &result.session_only {
                        log::warn!(
                            "exec hook without a cgroup of its own ({why}): what leaves its session cannot be killed"
                        );
                    }
                    result
                }
                Err(reason) => HookResult::failed(reason),
            },
            Handler::Sleep { seconds } => handler::sleep::run(u64::from(*seconds), abort).await,
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
                let success = self.driver().http_success();
                let get = |place: Place| async move {
                    let outcome = net::http_get_judged(place.network(), &request, success).await;
                    (outcome.result, outcome.status, outcome.body)
                };
                let mut result = self.in_network(get, abort).await;
                if let Some(sink) = self.hook_sink() {
                    result.dropped = sink.print(&result.output).await;
                }
                result
            }
            Handler::TcpSocket { host, port } => {
                let connect = |place: Place| async move {
                    let result = net::tcp_connect(place.network(), host.as_deref(), *port).await;
                    (result, None, Vec::new())
                };
                self.in_network(connect, abort).await
            }
        }
    }

    /// What exec handlers join, or why they cannot.
    fn engine(&self) -> Result<Arc<engine::Container>, String> {
        let joined = self.target().as_ref().map_err(String::clone)?;
        let engine = Arc::clone(joined).engine();
        engine.ok_or_else(|| "the container cannot be joined".to_owned())
    }

    /// Reads what a hook's processes print that it has left running, to the end of the container.
    fn read_on(&self, rest: Rest) {
        let mut phase = self.driver().phases();
        let stopped = async move {
            // A container that is gone has no phase any more.
            let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
        };
        let read = async move {
            let dropped = rest.pass_on(stopped).await;
            if dropped > 0 {
                log::warn!(
                    bytes = dropped;
                    "output of what a hook has left running dropped: nobody reads the container's output"
                );
            }
        };
        tokio::spawn(crate::containerd::log::of_container(self.id.clone(), read));
    }

    /// Where hooks print besides the record.
    fn hook_sink(&self) -> Option<Sink> {
        self.init.io().and_then(|io| io.hook_sink())
    }

    /// Runs a handler that sends from the container's network namespace.
    async fn in_network<F>(
        &self,
        send: impl FnOnce(Place) -> F,
        abort: impl Future<Output = ()>,
    ) -> HookResult
    where
        F: Future<Output = (Result<(), String>, Option<u16>, Vec<u8>)>,
    {
        let started_at = SystemTime::now();
        let place = match self.place() {
            Ok(place) => place,
            Err(reason) => return HookResult::failed(reason),
        };
        tokio::select! {
            (sent, status, body) = send(place) => {
                let outcome = sent.map_or_else(Outcome::Failed, |()| Outcome::Succeeded);
                let mut result = HookResult::new(outcome, started_at);
                (result.http_status, result.output) = (status, body);
                result
            }
            // Dropping the request closes its socket.
            () = abort => HookResult::new(Outcome::Aborted, started_at),
        }
    }

    fn place(&self) -> Result<Place, String> {
        let open = |name: &str, flags| {
            let path = format!("/proc/{}/{name}", self.pid());
            let file = File::options().read(true).custom_flags(flags).open(&path);
            file.map(OwnedFd::from)
                .map_err(|e| format!("open {path}: {e}"))
        };
        let place = Place {
            netns: open("ns/net", 0)?,
            // Held, not opened: whatever it is, nothing is done there yet.
            root: open("root", libc::O_PATH | libc::O_DIRECTORY)?,
        };
        // Alive after the open: it was init's, not that of a later process with its pid.
        self.init.signal(0).map_err(|e| e.to_string())?;
        Ok(place)
    }
}

/// Where a container's requests go out, and its root, in which its names are looked up.
struct Place {
    netns: OwnedFd,
    root: OwnedFd,
}

impl Place {
    fn network(&self) -> Network<'_> {
        Network {
            netns: self.netns.as_fd(),
            root: self.root.as_fd(),
        }
    }
}

/// The error of a Start whose postStart failed: users read it in `kubectl describe` and in ctr.
pub(super) fn failure(
    hook: Option<&Hook>,
    cause: Cause,
    result: Option<&HookResult>,
    advice: &Advice,
) -> String {
    let handler = hook.map(|hook| hook.handler.describe()).unwrap_or_default();
    let reason = match (cause, result.map(|result| &result.outcome)) {
        (Cause::Aborted(abort), _) => advice.abort(abort),
        (Cause::HookFailed, Some(Outcome::Failed(message))) => text::visible(message).into_owned(),
        (Cause::HookFailed, _) => "failed".to_owned(),
    };
    let output = result
        .map(|result| text::neutral(&text::visible_lines(record::tail(&result.output).trim())))
        .unwrap_or_default();
    let separator = if output.is_empty() { "" } else { ": " };
    format!("FailedPostStartHook: {handler}: {reason}{separator}{output}")
}
