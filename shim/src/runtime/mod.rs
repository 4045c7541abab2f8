//! The OCI runtime's command line: runc, crun, youki.

#[allow(unsafe_code)]
mod call;
mod criu;
mod direct;
mod failure;
pub mod log_json;
mod presence;
mod running;

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;

use crate::containerd::options::Options;
use crate::error::{Error, Result};
use crate::host::bundle::INIT_PID;
use crate::host::reaper::Reaper;
use call::call;
use direct::{Direct, Unfit};
use failure::FailureParts;

pub use call::{Late, Stdio, has_died, output};
pub use criu::{CheckpointArgs, RestoreArgs};
pub use failure::call_failed;
pub use presence::{Presence, mark, names};

/// Where the runtime keeps its state unless the options say otherwise: as the Go shim, so that
/// `runc --root /run/containerd/runc/<namespace> list` shows our containers too.
const DEFAULT_ROOT: &str = "/run/containerd/runc";

/// The OCI runtime's binary.
pub fn binary(options: &Options) -> &str {
    if options.binary_name.is_empty() {
        "runc"
    } else {
        &options.binary_name
    }
}

/// Where the runtime keeps the states of a namespace's containers.
fn state_root(options: &Options, namespace: &str) -> PathBuf {
    let root = if options.root.is_empty() {
        DEFAULT_ROOT
    } else {
        &options.root
    };
    Path::new(root).join(namespace)
}

/// The arguments before the command.
pub fn global_args(options: &Options, namespace: &str, log: &Path) -> Vec<String> {
    let mut args = vec![
        "--root".to_owned(),
        state_root(options, namespace).display().to_string(),
        "--log".to_owned(),
        log.display().to_string(),
        "--log-format".to_owned(),
        "json".to_owned(),
    ];
    if options.systemd_cgroup {
        args.push("--systemd-cgroup".to_owned());
    }
    args
}

/// The OCI runtime as the container layer uses it, for one container. A call that is dropped is killed.
#[async_trait]
pub trait OciRuntime: Send + Sync {
    /// `create`, with the container's stdio. The pid of init is in `init.pid` of the bundle then.
    async fn create(
        &self,
        bundle: &Path,
        options: &Options,
        console: Option<&Path>,
        stdio: Stdio,
    ) -> Result<()>;
    async fn start(&self) -> Result<()>;
    async fn exec(&self, args: ExecArgs<'_>, stdio: Stdio) -> Result<()>;
    /// `kill`, to every process of the container.
    async fn kill_all(&self, signal: i32) -> Result<()>;
    /// `kill`, to init; thaws a paused container for SIGKILL.
    async fn kill(&self, signal: i32) -> Result<()>;
    /// `delete`. One that does not exist is deleted.
    async fn delete(&self, force: bool) -> Result<()>;
    async fn pause(&self) -> Result<()>;
    async fn resume(&self) -> Result<()>;
    /// `update`, with the OCI resources as JSON on its stdin.
    async fn update(&self, resources: OwnedFd) -> Result<()>;
    async fn checkpoint(&self, args: CheckpointArgs<'_>) -> Result<()>;
    /// `restore`, with the container's stdio.
    async fn restore(&self, args: RestoreArgs<'_>, stdio: Stdio) -> Result<()>;
}

/// Where a container's OCI runtime comes from.
pub trait RuntimeFactory: Send + Sync {
    /// The runtime of container `id`, logging into `bundle`.
    fn runtime(
        &self,
        options: &Options,
        namespace: &str,
        id: &str,
        bundle: &Path,
    ) -> Arc<dyn OciRuntime>;
}

/// The factory of those that are programs of the node.
pub struct Programs(pub Arc<Reaper>);

impl RuntimeFactory for Programs {
    fn runtime(
        &self,
        options: &Options,
        namespace: &str,
        id: &str,
        bundle: &Path,
    ) -> Arc<dyn OciRuntime> {
        let reaper = Arc::clone(&self.0);
        Arc::new(Runtime::new(options, namespace, id, bundle, reaper))
    }
}

/// The OCI runtime for one container: a program of the node.
pub struct Runtime {
    binary: String,
    globals: Vec<String>,
    bundle: PathBuf,
    log: PathBuf,
    id: String,
    reaper: Arc<Reaper>,
    /// What is done without the program, if anything.
    direct: Option<Direct>,
}

/// What `exec` needs to know.
pub struct ExecArgs<'a> {
    /// The OCI process as JSON.
    pub process: &'a Path,
    /// Where the pid goes.
    pub pid_file: &'a Path,
    /// Where the terminal's master goes, with a terminal.
    pub console: Option<&'a Path>,
}

impl Runtime {
    /// The runtime of container `id`, logging into `bundle`.
    pub fn new(
        options: &Options,
        namespace: &str,
        id: &str,
        bundle: &Path,
        reaper: Arc<Reaper>,
    ) -> Self {
        let log = bundle.join("log.json");
        let root = state_root(options, namespace);
        Self {
            direct: Direct::new(options, binary(options), &root, id, bundle),
            binary: binary(options).to_owned(),
            globals: global_args(options, namespace, &log),
            bundle: bundle.to_owned(),
            log,
            id: id.to_owned(),
            reaper,
        }
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(&self.globals).arg(verb);
        command
    }

    /// Runs a command that takes the container's id last.
    async fn run(&self, mut command: Command, verb: &'static str, stdio: Stdio) -> Result<()> {
        command.arg(&self.id);
        self.run_bare(command, verb, stdio).await
    }

    /// Notes who has done a call that need not be the program's.
    fn log_direct(&self, verb: &str, unfit: Option<&Unfit>) {
        let id = self.id.as_str();
        match unfit {
            None => log::debug!(id = id; "{verb}: done without the OCI runtime"),
            Some(why) => log::debug!(id = id; "{verb}: by the OCI runtime: {why}"),
        }
    }

    async fn run_bare(&self, command: Command, verb: &'static str, stdio: Stdio) -> Result<()> {
        let mark = log_json::Mark::now(&self.log);
        let mut died = false;
        let (logged, how) = match call(&self.reaper, &self.bundle, command, stdio).await {
            Ok(ended) if ended.exit.code() == Some(0) => return Ok(()),
            Ok(ended) => {
                died = ended.has_died();
                let (status, printed) = ended.describe();
                let how = failure::ended(&self.binary, &status, printed);
                (mark.last_error(), how)
            }
            Err(Error::Sys { operation, source }) if operation == call::START => {
                (None, failure::not_started(&self.binary, &source))
            }
            Err(other) => return Err(other),
        };
        let failure = FailureParts {
            logged,
            log: &self.log,
            how,
        };
        Err(failure.of_call(verb, died).into())
    }
}

#[async_trait]
impl OciRuntime for Runtime {
    async fn create(
        &self,
        bundle: &Path,
        options: &Options,
        console: Option<&Path>,
        stdio: Stdio,
    ) -> Result<()> {
        let mut command = self.command("create");
        command
            .arg("--bundle")
            .arg(bundle)
            .arg("--pid-file")
            .arg(bundle.join(INIT_PID));
        if options.no_pivot_root {
            command.arg("--no-pivot");
        }
        if options.no_new_keyring {
            command.arg("--no-new-keyring");
        }
        if let Some(console) = console {
            command.arg("--console-socket").arg(console);
        }
        self.run(command, "create", stdio).await
    }

    async fn start(&self) -> Result<()> {
        let mut fifo = None;
        if let Some(direct) = &self.direct {
            match direct.start().await {
                Ok(()) => {
                    self.log_direct("start", None);
                    return Ok(());
                }
                Err(unstarted) => {
                    self.log_direct("start", Some(&unstarted.why));
                    fifo = unstarted.fifo;
                }
            }
        }
        let called = self
            .run(self.command("start"), "start", Stdio::null()?)
            .await;
        drop(fifo);
        called
    }

    #[allow(unsafe_code)]
    async fn exec(&self, args: ExecArgs<'_>, stdio: Stdio) -> Result<()> {
        let mut command = self.command("exec");
        command
            .arg("--detach")
            .arg("--process")
            .arg(args.process)
            .arg("--pid-file")
            .arg(args.pid_file);
        if let Some(console) = args.console {
            command.arg("--console-socket").arg(console);
        }
        // crun 1.8 leaves the process in its own session, which must not be the shim's: it is signalled as a whole.
        // SAFETY: runs between fork and exec; setsid is async-signal-safe, and fails for a leader only.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                Ok(())
            });
        }
        self.run(command, "exec", stdio).await
    }

    async fn kill_all(&self, signal: i32) -> Result<()> {
        let mut command = self.command("kill");
        command.args(["--all", &self.id, &signal.to_string()]);
        self.run_bare(command, "kill", Stdio::null()?).await
    }

    async fn kill(&self, signal: i32) -> Result<()> {
        let mut command = self.command("kill");
        command.args([&self.id, &signal.to_string()]);
        self.run_bare(command, "kill", Stdio::null()?).await
    }

    async fn delete(&self, force: bool) -> Result<()> {
        if let Some(direct) = self.direct.as_ref().filter(|_| !force) {
            let deleted = direct.delete().await;
            self.log_direct("delete", deleted.as_ref().err());
            if deleted.is_ok() {
                return Ok(());
            }
        }
        let mut command = self.command("delete");
        if force {
            command.arg("--force");
        }
        match self.run(command, "delete", Stdio::null()?).await {
            Err(Error::Runtime(failed)) if failed.no_container => Ok(()),
            other => other,
        }
    }

    async fn pause(&self) -> Result<()> {
        self.run(self.command("pause"), "pause", Stdio::null()?)
            .await
    }

    async fn resume(&self) -> Result<()> {
        self.run(self.command("resume"), "resume", Stdio::null()?)
            .await
    }

    async fn update(&self, resources: OwnedFd) -> Result<()> {
        let mut command = self.command("update");
        command.args(["--resources", "-"]);
        let stdio = Stdio {
            stdin: resources,
            ..Stdio::null()?
        };
        self.run(command, "update", stdio).await
    }

    async fn checkpoint(&self, args: CheckpointArgs<'_>) -> Result<()> {
        let command = criu::checkpoint(self.command("checkpoint"), args);
        self.run(command, "checkpoint", Stdio::null()?).await
    }

    async fn restore(&self, args: RestoreArgs<'_>, stdio: Stdio) -> Result<()> {
        let command = criu::restore(self.command("restore"), args);
        self.run(command, "restore", stdio).await
    }
}
