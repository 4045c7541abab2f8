//! A process that the OCI runtime makes: init by `create` or `restore`, others by `exec`.
//!
//! The order is the same for all: exits are kept (the pid is not known yet, and the process may end at any time), the
//! stdio is connected, the runtime is called, the pid that it wrote is read and waited for, and exits are kept no more.

use std::fs;
use std::path::{Path, PathBuf};

use podhook_hooks::exec::{self, Exit};
use tokio::sync::oneshot;

use super::deps::{Deps, Made};
use super::process::Process;
use super::restore::Checkpoint;
use crate::containerd::options::Options;
use crate::error::{Error, Result};
use crate::host::descriptors::{CONNECTING, Reserve};
use crate::host::file;
use crate::runtime::{ExecArgs, OciRuntime, RestoreArgs};
use crate::stdio::{ConsoleSocket, Owner, ProcessIo, Stdio};
use crate::{runtime, stdio};

/// A process that could not be made.
pub(super) struct Unmade {
    pub(super) error: Error,
    /// The OCI runtime has made a process, or a part of a container: see [`super::clear`].
    pub(super) left: bool,
}

impl Unmade {
    pub(super) fn left(error: Error) -> Self {
        Self { error, left: true }
    }
}

impl From<Error> for Unmade {
    fn from(error: Error) -> Self {
        let left = matches!(&error, Error::Runtime(failed) if failed.died);
        Self { error, left }
    }
}

pub(super) enum Call<'a> {
    Create,
    Restore(&'a Checkpoint),
    /// With the OCI process in this file.
    Exec(&'a Path),
}

pub(super) struct Spawn<'a> {
    pub(super) deps: &'a Deps,
    pub(super) runtime: &'a dyn OciRuntime,
    pub(super) options: &'a Options,
    pub(super) bundle: &'a Path,
    pub(super) call: Call<'a>,
    /// Where the runtime writes the pid.
    pub(super) pid_file: &'a Path,
}

impl Spawn<'_> {
    /// Makes it, with the stdio that containerd wants. `hook_output`: hooks print there as well.
    pub(super) async fn connected(
        &self,
        stdio: &Stdio,
        owner: Owner<'_>,
        hook_output: bool,
    ) -> std::result::Result<(Made, ProcessIo), Unmade> {
        // Once an exec's process runs there are no errors of the runtime: it has left it to the shim.
        let mut spare = match self.call {
            Call::Exec(_) => Some(Reserve::take(CONNECTING)?),
            _ => None,
        };
        let mut spare = move || drop(spare.take());
        let _hold = self.deps.children.hold();
        if stdio.terminal {
            let console = ConsoleSocket::new()?;
            let nothing = runtime::Stdio::null()?;
            self.run(Some(console.path()), nothing).await?;
            spare();
            let made = Unadopted::new(self.made().map_err(Unmade::left)?);
            let master = console.receive().await.map_err(Unmade::left)?;
            let io = ProcessIo::terminal(master, stdio, owner, hook_output).await;
            let io = io.map_err(Unmade::left)?;
            let made = made.adopt().ok_or(Error::Missing("no process"))?;
            return Ok((made, io));
        }
        let (child, ends) = stdio::pipes(stdio, self.options)?;
        // Connected first: a fifo that is missing must not leave a process behind.
        let ends = ends.shared_with_hooks(hook_output).held();
        let mut io = ends.connect(stdio, owner).await?;
        if let Err(e) = self.run(None, child).await {
            io.abort().await;
            return Err(e.into());
        }
        spare();
        match self.made() {
            Ok(made) => {
                io.release();
                Ok((made, io))
            }
            Err(e) => {
                io.abort().await;
                Err(Unmade::left(e))
            }
        }
    }

    /// Makes the init of container `id`; returns its exit to come.
    pub(super) async fn init(
        &self,
        id: &str,
        process: &Process,
        hook_output: bool,
    ) -> std::result::Result<oneshot::Receiver<Exit>, Unmade> {
        let namespace = &self.deps.namespace;
        let owner = Owner { id, namespace };
        let (made, io) = self.connected(&process.stdio, owner, hook_output).await?;
        process.set_child(made.pid, made.held);
        process.set_io(io);
        log::debug!(id = id, pid = made.pid; "created");
        Ok(made.exit)
    }

    /// Makes it, with this stdio.
    pub(super) async fn with(&self, stdio: runtime::Stdio) -> Result<exec::Child> {
        let _hold = self.deps.children.hold();
        self.run(None, stdio).await?;
        let pid = read_pid(self.pid_file)?;
        Ok(exec::Child::adopted(pid, self.deps.children.as_ref()))
    }

    /// The process that the runtime says it has made.
    fn made(&self) -> Result<Made> {
        let pid = read_pid(self.pid_file)?;
        let exit = self.deps.children.wait(pid);
        let held = match (self.deps.system.hold(pid), &self.call) {
            // It runs, and ends with its container at the latest.
            (Err(_), Call::Exec(_)) => None,
            (held, _) => held?,
        };
        let pidfd = held.as_ref().and_then(|held| held.pidfd());
        Ok(Made {
            pid,
            exit: exec::exit_though_traced(pid, pidfd, exit),
            held,
        })
    }

    async fn run(&self, console: Option<&Path>, stdio: runtime::Stdio) -> Result<()> {
        match self.call {
            Call::Create => {
                let (bundle, options) = (self.bundle, self.options);
                self.runtime.create(bundle, options, console, stdio).await
            }
            Call::Restore(checkpoint) => {
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
            Call::Exec(process) => {
                let args = ExecArgs {
                    process,
                    pid_file: self.pid_file,
                    console,
                };
                self.runtime.exec(args, stdio).await
            }
        }
    }
}

/// A process that is not adopted yet; dropping this kills it.
pub(super) struct Unadopted(Option<Made>);

impl Unadopted {
    pub(super) fn new(made: Made) -> Self {
        Self(Some(made))
    }

    pub(super) fn adopt(mut self) -> Option<Made> {
        self.0.take()
    }
}

impl Drop for Unadopted {
    fn drop(&mut self) {
        if let Some(held) = self.0.as_ref().and_then(|made| made.held.as_ref()) {
            let _ = held.signal(libc::SIGKILL);
        }
    }
}

/// The files of one `exec` of the runtime, gone when its process runs.
pub(super) struct Files {
    pub(super) process: PathBuf,
    /// Where the pid goes.
    pub(super) pid: PathBuf,
}

impl Files {
    /// In `bundle`, with this OCI process. No exec id has a slash, but it may have any other name, that of a file of the
    /// bundle's too.
    pub(super) fn write(bundle: &Path, name: &str, process: &[u8]) -> Result<Self> {
        let files = Self {
            process: bundle.join(format!("{name}.json")),
            pid: bundle.join(format!("{name}.pid")),
        };
        file::write_private(&files.process, process)?;
        Ok(files)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.process);
        let _ = fs::remove_file(&self.pid);
    }
}

/// The pid that the runtime wrote.
fn read_pid(path: &Path) -> Result<libc::pid_t> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    text.trim()
        .parse()
        .map_err(Error::failed(path.display().to_string()))
}
