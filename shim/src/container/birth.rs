//! How an init comes to be: by the OCI runtime's `create`, or by its `restore`.

use std::path::Path;
use std::sync::Arc;

use podhook_hooks::exec::{self, Children, Exit};
use tokio::sync::oneshot;

use super::create::read_pid;
use super::process::Process;
use super::restore::Checkpoint;
use crate::containerd::options::Options;
use crate::error::{Error, Result};
use crate::host::reaper::Reaper;
use crate::runtime::{RestoreArgs, Runtime};
use crate::stdio::{ConsoleSocket, Owner, ProcessIo};
use crate::{runtime, stdio};

/// An init that was not made.
pub(super) struct Unmade {
    /// Why.
    pub(super) error: Error,
    /// The OCI runtime has made a container, or a part of one: see [`super::clear`].
    pub(super) left: bool,
}

impl Unmade {
    fn left(error: Error) -> Self {
        Self { error, left: true }
    }
}

impl From<Error> for Unmade {
    fn from(error: Error) -> Self {
        let left = matches!(error, Error::RuntimeDied(_));
        Self { error, left }
    }
}

/// What making an init takes.
pub(super) struct Birth<'a> {
    pub(super) id: &'a str,
    pub(super) namespace: &'a str,
    pub(super) bundle: &'a Path,
    pub(super) options: &'a Options,
    pub(super) runtime: &'a Runtime,
    pub(super) reaper: &'a Arc<Reaper>,
    pub(super) checkpoint: Option<&'a Checkpoint>,
    /// Hooks print to the container's own output.
    pub(super) hook_output: bool,
}

impl Birth<'_> {
    /// Makes `process` with its stdio; returns its exit to come.
    pub(super) async fn make(
        &self,
        process: &Process,
    ) -> std::result::Result<oneshot::Receiver<Exit>, Unmade> {
        let stdio = &process.stdio;
        let owner = Owner {
            id: self.id,
            namespace: self.namespace,
        };
        // Until init's pid is known nobody waits for it, and it can end at any time.
        let hold = self.reaper.hold();
        let io = if stdio.terminal {
            let console = ConsoleSocket::new()?;
            self.call(Some(console.path()), runtime::Stdio::null()?)
                .await?;
            let connected = async {
                let master = console.receive().await?;
                ProcessIo::terminal_with_hooks(master, stdio, owner, self.hook_output).await
            };
            connected.await.map_err(Unmade::left)?
        } else {
            let (child, ends) = stdio::pipes(stdio, self.options)?;
            // Connected first: a fifo that is missing must not leave a container behind.
            let ends = ends.shared_with_hooks(self.hook_output).held();
            let mut io = ends.connect(stdio, owner).await?;
            if let Err(e) = self.call(None, child).await {
                io.abort().await;
                return Err(e.into());
            }
            io.release();
            io
        };
        let known = read_pid(&self.bundle.join("init.pid")).and_then(|pid| {
            let exit = self.reaper.wait(pid);
            process.set_pid(pid)?;
            Ok((pid, exit))
        });
        let (pid, exit) = match known {
            Ok(known) => known,
            Err(e) => {
                io.abort().await;
                return Err(Unmade::left(e));
            }
        };
        let exit = exec::exit_though_traced(pid, process.pidfd(), exit);
        process.set_io(io);
        drop(hold);
        log::debug!(id = self.id, pid = pid; "created");
        Ok(exit)
    }

    async fn call(&self, console: Option<&Path>, stdio: runtime::Stdio) -> Result<()> {
        let Some(checkpoint) = self.checkpoint else {
            let (bundle, options) = (self.bundle, self.options);
            return self.runtime.create(bundle, options, console, stdio).await;
        };
        let work = match self.options.criu_work_path.as_str() {
            "" => self.bundle.join("work"),
            path => path.into(),
        };
        let args = RestoreArgs {
            image: &checkpoint.image,
            parent: checkpoint.parent.as_deref(),
            work: &work,
            bundle: self.bundle,
            no_pivot: self.options.no_pivot_root,
            console,
        };
        self.runtime.restore(args, stdio).await
    }
}
