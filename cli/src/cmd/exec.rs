//! `podhook exec`.

use std::io::IsTerminal;

use k8s_cri::v1::ContainerState;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::AsyncRead;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::error::Error;
use crate::args;
use crate::cri::exec::{Streams, TerminalSize};
use crate::pods::context::Context;
use crate::pods::{self, PodView};

/// Runs the command.
///
/// # Errors
/// When it cannot be run; [`Error::Exit`] when it ends with another status than 0.
pub async fn run(context: &Context, args: &args::Exec) -> Result<(), Error> {
    let name = pods::pod_name(&args.pod)?;
    let pod = pods::get(&context.client, &context.store, context.namespace(), &name).await?;
    let container = pod.choose_container(args.container.as_deref())?;
    let id = running(&pod, &container)?;
    let tty = args.tty && has_terminal(args);
    let raw = if tty && args.stdin {
        Some(RawTerminal::enter()?)
    } else {
        None
    };
    let streams = Streams {
        stdin: args
            .stdin
            .then(|| Box::pin(tokio::io::stdin()) as std::pin::Pin<Box<dyn AsyncRead>>),
        stdout: Box::pin(tokio::io::stdout()),
        stderr: Box::pin(tokio::io::stderr()),
        resize: if tty { Some(sizes()?) } else { None },
    };
    let code = context.client.exec(&id, &args.command, streams).await;
    drop(raw);
    match code? {
        0 => Ok(()),
        code => Err(Error::Exit(code)),
    }
}

/// Whether `-t` can be had; kubectl says so and goes on without.
fn has_terminal(args: &args::Exec) -> bool {
    let terminal = args.stdin && std::io::stdin().is_terminal();
    if !terminal {
        eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    terminal
}

/// The ID of a container that runs.
fn running(pod: &PodView, container: &str) -> Result<String, Error> {
    let status = pod.container(container);
    match status.map(|s| (s.state(), &s.id)) {
        Some((ContainerState::ContainerRunning, id)) => Ok(id.clone()),
        Some((ContainerState::ContainerExited, _)) => Err(Error::Server {
            code: "BadRequest",
            message: format!(
                "cannot exec into container {container:?} of pod {:?}: it has ended",
                pod.name
            ),
        }),
        // Under a kubelet this would work during postStart; here the runtime says CREATED until
        // the hook has succeeded, and CRI executes nothing in such a container.
        _ => Err(Error::Server {
            code: "BadRequest",
            message: format!(
                "cannot exec into container {container:?} of pod {:?}: it is not running yet \
                 (ContainerCreating; a postStart hook has not ended)",
                pod.name
            ),
        }),
    }
}

/// The terminal passes every key on; back to its old settings when dropped.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> Result<Self, Error> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).map_err(std::io::Error::from)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).map_err(std::io::Error::from)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The terminal's size, now and at every change.
fn sizes() -> Result<mpsc::Receiver<TerminalSize>, Error> {
    let mut changes = signal(SignalKind::window_change())?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            if let Ok(size) = tcgetwinsize(std::io::stdin()) {
                let size = TerminalSize {
                    width: size.ws_col,
                    height: size.ws_row,
                };
                if sender.send(size).await.is_err() {
                    return;
                }
            }
            if changes.recv().await.is_none() {
                return;
            }
        }
    });
    Ok(receiver)
}
