//! Runs one hook, and words its failure.

use std::sync::Arc;

use podhook_hooks::exec::{self as engine, Children};
use podhook_hooks::handler::exec::Fallback;
use podhook_hooks::handler::{self, HookRun, Outcome, Place, Rest, Sink, Target};
use podhook_hooks::lifecycle::{Hook, Statuses, text};
use podhook_hooks::moment::Moment;
use podhook_hooks::record;
use podhook_hooks::sequence::{Advice, Cause, Phase};
use podhook_hooks::task;
use tokio::sync::oneshot;

use super::Container;
use super::runtime_exec::ByRuntime;

impl Container {
    /// Runs the handler to its end, or until it is aborted.
    pub(super) async fn execute(
        self: &Arc<Self>,
        hook: &Hook,
        aborted: oneshot::Receiver<()>,
    ) -> HookRun {
        // The handler drops it when it has done its work.
        let mut abort = Box::pin(async {
            // A driver that is gone aborts too.
            let _ = aborted.await;
        });
        if hook.handler.kind().acts_on_container() {
            let began = Moment::now();
            tokio::select! {
                biased;
                () = &mut abort => return HookRun::new(Outcome::Aborted, began),
                () = self.entrypoint() => {}
            }
        }
        let target = HookTarget {
            container: self,
            runtime: ByRuntime(Arc::clone(self)),
        };
        let result = handler::run(&hook.handler, &target, abort).await;
        if hook.handler.kind().runs_processes() {
            match &result.by_fallback {
                Some(reason) => log::info!("exec hook by the OCI runtime: {reason}"),
                None => log::debug!("exec hook by the engine"),
            }
        }
        if let Some(why) = &result.session_only {
            log::warn!(
                "exec hook without a cgroup of its own ({why}): what leaves its session cannot be killed"
            );
        }
        result
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
        task::spawn(crate::containerd::log::of_container(self.id.clone(), read));
    }

    /// Where hooks print besides the record.
    fn hook_sink(&self) -> Option<Sink> {
        self.init.io().and_then(|io| io.hook_sink())
    }
}

/// A container as its hooks' handlers see it.
struct HookTarget<'a> {
    container: &'a Arc<Container>,
    runtime: ByRuntime,
}

impl Target for HookTarget<'_> {
    fn container(&self) -> Result<Arc<engine::Container>, String> {
        self.container.engine()
    }

    fn place(&self) -> Result<Place, String> {
        let place = Place::of(self.container.pid())?;
        // Alive after the open: it was init's, not that of a later process with its pid.
        self.container.init.signal(0).map_err(|e| e.to_string())?;
        Ok(place)
    }

    fn children(&self) -> Arc<dyn Children> {
        Arc::clone(&self.container.deps.children)
    }

    fn sink(&self) -> Option<Sink> {
        self.container.hook_sink()
    }

    fn fallback(&self) -> Option<&dyn Fallback> {
        Some(&self.runtime)
    }

    fn http_success(&self) -> Statuses {
        self.container.node.http_success
    }

    fn left_running(&self, rest: Rest) {
        self.container.read_on(rest);
    }
}

/// The error of a Start whose postStart failed: users read it in `kubectl describe` and in ctr.
pub(super) fn failure(
    hook: Option<&Hook>,
    cause: Cause,
    result: Option<&HookRun>,
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
