//! The `exec` handler: a command in the container, its whole process tree under control.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::output::{Made, Output};
use super::{HookRun, Outcome, Rest, Sink};
use crate::deadline;
use crate::exec::{self, Child, Children, Container, Error, Exit, Stdio, Tree};
use crate::lifecycle::text;
use crate::moment::Moment;
use crate::null_device;
use crate::signal;
use crate::task;
use crate::trace;

/// How long the result of a hook waits for a process that was killed but cannot die yet, and for a sink
/// that takes no more output.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest reason why a command could not be run, characters.
const MAX_REASON: usize = 1024;

/// Another way to run a command in the container, for what the engine does not support: the OCI
/// runtime's own `exec`.
pub trait Fallback: Send + Sync {
    /// Runs `command`; the child leads a session of its own. The error is a reason for users. Where the
    /// future is dropped no process stays.
    fn spawn<'a>(
        &'a self,
        command: &'a [String],
        stdio: Stdio,
    ) -> Pin<Box<dyn Future<Output = Result<Child, String>> + Send + 'a>>;

    /// Why every command goes this way; none where the engine comes first.
    fn always(&self) -> Option<String> {
        None
    }
}

/// Runs `command` in the container, as its own process would run: same user, environment, directory,
/// restrictions and limits; no shell; stdin is /dev/null.
///
/// `abort` kills the command and all it has started; so does dropping the future. What a command that
/// has ended by itself left running stays in the container; its output is read for as long as it lives.
pub async fn run(
    container: &Arc<Container>,
    command: &[String],
    children: &Arc<dyn Children>,
    abort: impl Future<Output = ()> + Send,
    output: Option<Sink>,
) -> HookRun {
    let (result, rest) = run_with_fallback(container, command, children, abort, output, None).await;
    if let Some(rest) = rest {
        task::spawn(async move {
            rest.pass_on(std::future::pending()).await;
        });
    }
    result
}

/// The same; what the engine does not support goes the other way. An abort then kills the command and
/// its session: what has left that is not found.
///
/// Also returns the output of what is left running, to be read by the caller.
pub async fn run_with_fallback(
    container: &Arc<Container>,
    command: &[String],
    children: &Arc<dyn Children>,
    abort: impl Future<Output = ()> + Send,
    sink: Option<Sink>,
    fallback: Option<&dyn Fallback>,
) -> (HookRun, Option<Rest>) {
    let began = Moment::now();
    // Dropped once the command has ended: who would abort it sees that it is too late for that.
    let mut abort = Box::pin(abort);
    // Forget earlier OOM kills: they are not this hook's.
    container.has_new_oom_kills();
    let mut printed = None;
    let spawned = tokio::select! {
        // A command that is there is reported, not forgotten.
        biased;
        spawned = spawn(container, command, children, sink, fallback, &mut printed) => Some(spawned),
        () = &mut abort => None,
    };
    let Some(spawned) = spawned else {
        // On a busy machine the command may have begun before it was seen to.
        let mut result = HookRun::new(Outcome::Aborted, began);
        if let Some(mut output) = printed {
            let _ = deadline::within(PATIENCE, output.drain()).await;
            result.dropped = output.dropped();
            result.output = output.into_tail_and_rest().0;
        }
        return (result, None);
    };
    let (child, mut output, by_fallback) = match (spawned, printed) {
        (Ok((child, by_fallback)), Some(output)) => (child, output, by_fallback),
        (Ok((child, _)), None) => {
            kill(Some(child)).await;
            return (HookRun::new(Outcome::Aborted, began), None);
        }
        (Err((reason, by_fallback)), _) => {
            // It names the command, which may be as long as an argument.
            let reason = text::shorten_middle(&reason, MAX_REASON);
            let mut result = HookRun::new(Outcome::Failed(reason), began);
            result.by_fallback = by_fallback;
            return (result, None);
        }
    };
    let session_only = child.tree.as_ref().and_then(Tree::session_only);
    let session_only = session_only.map(str::to_string);
    let mut running = Running(Some(child));
    let ended = tokio::select! {
        // A command that has ended in time has, though the abort comes before that is seen.
        biased;
        exit = running.exit() => Some(exit),
        () = &mut abort => None,
        never = output.read() => match never {},
    };
    drop(abort);
    let child = running.0.take();
    let mut result = match ended {
        Some(exit) => {
            if let Some(tree) = child.and_then(|child| child.tree) {
                tree.release().await;
            }
            let oom = || container.has_new_oom_kills();
            result(exit, outcome(exit, oom), began)
        }
        None => result(kill(child).await, Outcome::Aborted, began),
    };
    let _ = deadline::within(PATIENCE, output.drain()).await;
    result.dropped = output.dropped();
    let (tail, rest) = output.into_tail_and_rest();
    result.output = tail;
    result.by_fallback = by_fallback;
    result.session_only = session_only;
    (result, rest)
}

/// Makes the command, and `printed` with what reads its output; with why the fallback was taken, if it was.
///
/// The error is a reason for users, and why the fallback was taken.
async fn spawn(
    container: &Arc<Container>,
    command: &[String],
    children: &Arc<dyn Children>,
    sink: Option<Sink>,
    fallback: Option<&dyn Fallback>,
    printed: &mut Option<Output>,
) -> Result<(Child, Option<String>), (String, Option<String>)> {
    let reason = |error: Error| (error.reason(), None);
    let unsupported = match fallback.and_then(|fallback| fallback.always()) {
        Some(why) => why,
        None => {
            let (stdio, output) = stdio(container, sink.clone()).map_err(reason)?;
            *printed = Some(output);
            let trace = trace::current();
            let process = container.process().clone().args(command);
            let process = process.with_variables(&trace.variables());
            match exec::spawn(container, &process, stdio, true, children).await {
                Ok(child) => return Ok((child, None)),
                Err(error) if error.is_unsupported() => error.reason(),
                Err(error) => return Err(reason(error)),
            }
        }
    };
    let Some(fallback) = fallback else {
        return Err((unsupported, None));
    };
    let (stdio, output) = stdio(container, sink).map_err(reason)?;
    *printed = Some(output);
    match fallback.spawn(command, stdio).await {
        Ok(child) => Ok((child, Some(unsupported))),
        Err(reason) => Err((reason, Some(unsupported))),
    }
}

/// A child that does not outlive the future that waits for it.
struct Running(Option<Child>);

impl Running {
    /// `None` where the exit was lost.
    async fn exit(&mut self) -> Option<Exit> {
        match &mut self.0 {
            Some(child) => (&mut child.exit).await.ok(),
            None => None,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(kill(Some(child)));
        }
    }
}

/// Kills the tree; `None` where the process cannot die yet.
async fn kill(child: Option<Child>) -> Option<Exit> {
    let child = child?;
    let _ = child.signal(libc::SIGKILL);
    if let Some(tree) = child.tree {
        tree.kill().await;
    }
    deadline::within(PATIENCE, child.exit).await?.ok()
}

fn outcome(exit: Option<Exit>, oom: impl Fn() -> bool) -> Outcome {
    let Some(exit) = exit else {
        return Outcome::Failed("its exit status was lost".to_string());
    };
    match (exit.code(), exit.signal()) {
        (Some(0), _) => Outcome::Succeeded,
        (Some(code), _) => Outcome::Failed(format!("exited with status {code}")),
        (None, Some(libc::SIGKILL)) if oom() => {
            Outcome::Failed("killed by SIGKILL (out of memory)".to_string())
        }
        (None, Some(signal)) => Outcome::Failed(format!("killed by {}", signal::name(signal))),
        (None, None) => Outcome::Failed(format!("ended with wait status {:#x}", exit.raw_status)),
    }
}

fn result(exit: Option<Exit>, outcome: Outcome, began: Moment) -> HookRun {
    let mut result = HookRun::new(outcome, began);
    if let Some(exit) = exit {
        result.exit_code = exit.code();
        result.signal = exit.signal();
        result.cpu_user = exit.cpu_user;
        result.cpu_system = exit.cpu_system;
        result.memory_peak = (exit.max_rss > 0).then_some(exit.max_rss);
        result.took = began.until(exit.at);
    }
    result
}

fn stdio(container: &Container, sink: Option<Sink>) -> Result<(Stdio, Output), Error> {
    let failed = |source| Error::System {
        operation: "make the pipes of a hook's output",
        source,
    };
    let Made {
        output,
        stdout,
        stderr,
    } = match sink {
        None => Output::joined(None),
        Some(Sink::Joined(queue)) => Output::joined(Some(queue)),
        Some(Sink::Apart { stdout, stderr }) => Output::apart(stdout, stderr),
    }
    .map_err(failed)?;
    // In a user namespace the child cannot take over what belongs to the host's root.
    if let Some(owner) = container.host_uid(container.process().uid()) {
        for pipe in [&stdout, &stderr] {
            std::os::unix::fs::fchown(pipe, Some(owner), None).map_err(failed)?;
        }
    }
    let stdio = Stdio {
        stdin: dev_null()?,
        stdout,
        stderr,
    };
    Ok((stdio, output))
}

fn dev_null() -> Result<OwnedFd, Error> {
    null_device::open(true, false).map_err(|source| Error::System {
        operation: "make a null device",
        source,
    })
}
