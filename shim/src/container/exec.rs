//! Processes made by `Exec`: exec probes, `kubectl exec`, the kubelet's own hooks.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use containerd_shim_protos::api::{ExecProcessRequest, Status};
use containerd_shim_protos::events::task::{TaskExecAdded, TaskExecStarted};
use podhook_hooks::config::ExecEngine;
use podhook_hooks::exec::{self as engine, Children, Exit};
use tokio::sync::oneshot;

use super::create::read_pid;
use super::process::{ExitInfo, Process};
use super::{Container, Freezer, Named};
use crate::error::{Error, Result};
use crate::host::descriptors::{CONNECTING, Reserve};
use crate::runtime::ExecArgs;
use crate::stdio::{ConsoleSocket, Owner, ProcessIo, Stdio};
use crate::{runtime, stdio};

/// One such process.
pub struct Exec {
    /// The process.
    pub process: Process,
    phase: Mutex<Phase>,
    /// Held by Start until there is a process or never will be: as in the Go shim, signals and Delete wait for that.
    starting: tokio::sync::Mutex<()>,
}

/// How far it is.
enum Phase {
    /// The OCI process as containerd sent it.
    Added(Vec<u8>),
    /// Start makes the process, until it is told to give up.
    Starting(oneshot::Sender<GivenUp>),
    Started,
}

/// Why a process that Start was making is never to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// A SIGKILL came.
    Killed,
    /// The container's init has ended.
    InitGone,
    /// The time that the client gave is over.
    TooLate,
}

impl GivenUp {
    fn error(self, container: &str) -> Error {
        match self {
            Self::Killed => Error::Unknown(
                "OCI runtime exec failed: exec failed: killed while it was started".to_owned(),
            ),
            Self::InitGone => no_init(container),
            Self::TooLate => Error::Unknown(
                "OCI runtime exec failed: exec failed: context deadline exceeded".to_owned(),
            ),
        }
    }

    /// What who waits for the process is told.
    fn status(self) -> u32 {
        match self {
            Self::Killed => 128 + libc::SIGKILL.cast_unsigned(),
            _ => 255,
        }
    }
}

fn no_init(container: &str) -> Error {
    Error::FailedPrecondition(format!("container {container} init process is not running"))
}

impl Exec {
    /// Its status as clients see it.
    pub fn status(&self) -> Status {
        match (self.process.exit(), self.process.pid()) {
            (Some(_), _) => Status::STOPPED,
            (None, 0) => Status::CREATED,
            (None, _) => Status::RUNNING,
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From Added to Starting: the specification, and the end of the channel where the reason to give up comes.
    fn claim(&self) -> Result<(Vec<u8>, oneshot::Receiver<GivenUp>)> {
        let (sender, given_up) = oneshot::channel();
        let mut phase = self.phase();
        match std::mem::replace(&mut *phase, Phase::Started) {
            Phase::Added(spec) => {
                *phase = Phase::Starting(sender);
                Ok((spec, given_up))
            }
            other => {
                *phase = other;
                Err(Error::Unknown("cannot start a running process".to_owned()))
            }
        }
    }

    /// Ends a Start that is under way: what it was making never becomes the command. False where none is.
    pub(super) fn give_up(&self, why: GivenUp) -> bool {
        let mut phase = self.phase();
        match std::mem::replace(&mut *phase, Phase::Started) {
            Phase::Starting(sender) => sender.send(why).is_ok(),
            other => {
                *phase = other;
                false
            }
        }
    }

    /// Waits while Start makes the process.
    pub(super) async fn settled(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.starting.lock().await
    }

    /// Takes over what was made.
    fn adopt(&self, mut made: Unadopted, io: Result<ProcessIo>) -> Result<oneshot::Receiver<Exit>> {
        // Without its stdio it must not go on.
        self.process.set_io(io?);
        let made = made
            .0
            .take()
            .ok_or_else(|| Error::Unknown("no process".to_owned()))?;
        self.process.set_child(made.pid, made.pidfd);
        Ok(made.exit)
    }
}

/// A process that nobody has taken over yet; it is killed where nobody does.
struct Unadopted(Option<engine::Child>);

impl Drop for Unadopted {
    fn drop(&mut self) {
        if let Some(child) = &self.0 {
            let _ = child.signal(libc::SIGKILL);
        }
    }
}

/// The files of an exec, gone when it runs.
struct Files {
    process: PathBuf,
    pid: PathBuf,
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.process);
        let _ = fs::remove_file(&self.pid);
    }
}

impl Container {
    /// Registers a process; Start makes it.
    pub fn exec(&self, request: ExecProcessRequest) -> Result<()> {
        let exec_id = request.exec_id;
        if exec_id.is_empty() || exec_id.contains('/') {
            return Err(Error::InvalidArgument(format!(
                "invalid exec id {exec_id:?}"
            )));
        }
        let stdio = Stdio::new(
            &request.stdin,
            &request.stdout,
            &request.stderr,
            request.terminal,
        );
        let exec = Exec {
            process: Process::new(exec_id.clone(), stdio),
            phase: Mutex::new(Phase::Added(request.spec.value.clone())),
            starting: tokio::sync::Mutex::default(),
        };
        {
            let mut execs = self.execs();
            // In the Go shim's order: an id that is taken comes first.
            if execs.contains_key(&exec_id) {
                return Err(Error::AlreadyExists(format!("id {exec_id}")));
            }
            self.takes_execs()?;
            execs.insert(exec_id.clone(), Arc::new(exec));
        }
        self.publisher.publish(TaskExecAdded {
            container_id: self.id.clone(),
            exec_id,
            ..Default::default()
        });
        Ok(())
    }

    /// In the Go shim's words.
    fn takes_execs(&self) -> Result<()> {
        let state = self.lock();
        let refused = |what| Err(Error::Unknown(format!("cannot exec in a {what} state")));
        if self.init.exit().is_some() || state.init_gone {
            return refused("stopped");
        }
        if state.freezer == Freezer::Thawed {
            Ok(())
        } else {
            refused("paused")
        }
    }

    /// Starts it. `deadline` is what the client leaves: what does not run by then never does.
    pub async fn start_exec(
        self: &Arc<Self>,
        exec_id: &str,
        deadline: Option<Duration>,
    ) -> Result<u32> {
        let Named::Exec(exec) = self.process(exec_id)? else {
            return Err(Error::NotFound(format!("process does not exist {exec_id}")));
        };
        let starting = exec.starting.lock().await;
        let (spec, given_up) = exec.claim()?;
        // After the claim: who ends init gives up what is claimed.
        if self.lock().init_gone {
            exec.give_up(GivenUp::InitGone);
        }
        let started = tokio::select! {
            // What is given up is not run, though it may be there.
            biased;
            Ok(why) = given_up => Err((why.error(&self.id), why.status())),
            started = self.run_exec(&exec, &spec) => started.map_err(|e| (e, 255)),
            () = over(deadline) => {
                let why = GivenUp::TooLate;
                Err((why.error(&self.id), why.status()))
            }
        };
        *exec.phase() = Phase::Started;
        let exit = match started {
            Ok(exit) => exit,
            Err((e, status)) => {
                self.counters.lock().execs_failed += 1;
                // Who waits already is told; there is no event for what never ran.
                exec.process.set_exit(ExitInfo {
                    status,
                    at: SystemTime::now(),
                });
                return Err(e);
            }
        };
        let pid = exec.process.pid();
        self.publisher.publish(TaskExecStarted {
            container_id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            pid,
            ..Default::default()
        });
        drop(starting);
        let container = Arc::clone(self);
        tokio::spawn(async move {
            let info = match exit.await {
                Ok(exit) => ExitInfo {
                    status: exit.status(),
                    at: exit.at,
                },
                Err(_) => ExitInfo {
                    status: 255,
                    at: SystemTime::now(),
                },
            };
            container.publish_exit(&exec.process, info);
        });
        Ok(pid)
    }

    /// Makes the process: by the engine where that can do it, else by the OCI runtime.
    async fn run_exec(&self, exec: &Exec, spec: &[u8]) -> Result<oneshot::Receiver<Exit>> {
        if self.is_paused() {
            // Its process would wait for the thaw, and Start with it.
            return Err(Error::Unknown(
                "OCI runtime exec failed: exec failed: cannot exec in a paused container \
                 (use --ignore-paused to override)"
                    .to_owned(),
            ));
        }
        // As with the OCI runtime, which takes longer to get there than init does.
        self.entrypoint().await;
        let by_engine = match self.target() {
            Ok(target) if self.exec_engine == ExecEngine::Native => {
                self.run_natively(target, exec, spec).await?
            }
            Ok(_) => Err("exec = \"runtime\"".to_owned()),
            Err(reason) => Err(reason.clone()),
        };
        let (exit, engine) = match by_engine {
            Ok(exit) => {
                self.counters.lock().execs_native += 1;
                (exit, "native")
            }
            Err(reason) => {
                log::debug!(id = self.id.as_str(); "exec by the OCI runtime: {reason}");
                let exit = self.run_by_runtime(exec, spec).await?;
                self.counters.exec_by_runtime(&reason);
                (exit, "runtime")
            }
        };
        log::debug!(
            id = self.id.as_str(), exec_id = exec.process.exec_id.as_str(), engine = engine,
            pid = exec.process.pid();
            "exec"
        );
        Ok(exit)
    }

    /// As the Go shim names an exec's stdio to a logging binary: by the exec's own id.
    fn owner<'a>(&'a self, process: &'a Process) -> Owner<'a> {
        Owner {
            id: &process.exec_id,
            namespace: &self.namespace,
        }
    }

    /// The inner error says why the engine cannot do it; nothing was made then.
    async fn run_natively(
        &self,
        target: &engine::Container,
        exec: &Exec,
        spec: &[u8],
    ) -> Result<std::result::Result<oneshot::Receiver<Exit>, String>> {
        let process = &exec.process;
        let failed = |e: engine::Error| {
            // As runc words it: what the new process came upon, or what kept it from being made.
            let start = match e {
                engine::Error::Start { .. } => "unable to start container process: ",
                _ => "",
            };
            Error::Unknown(format!("OCI runtime exec failed: exec failed: {start}{e}"))
        };
        let command = engine::Process::from_json(spec).map_err(failed)?;
        let children: Arc<dyn Children> = self.reaper.clone();
        let owner = self.owner(process);
        if process.stdio.terminal {
            let mut spare = Reserve::take(CONNECTING)?;
            let made = engine::spawn_on_terminal(target, &command, &children).await;
            let (made, master) = match made {
                Ok((made, master)) => (Unadopted(Some(made)), master),
                Err(e) if e.is_unsupported() => return Ok(Err(e.to_string())),
                Err(e) => return Err(failed(e)),
            };
            spare.release();
            let io = ProcessIo::terminal(File::from(master), &process.stdio, owner).await;
            return exec.adopt(made, io).map(Ok);
        }
        let (child, ends) = stdio::pipes(&process.stdio, &self.options)?;
        let mut spare = Reserve::take(CONNECTING)?;
        let child = engine::Stdio {
            stdin: child.stdin,
            stdout: child.stdout,
            stderr: child
                .stderr
                .ok_or_else(|| Error::Unknown("no stderr".to_owned()))?,
        };
        let made = match engine::spawn(target, &command, child, false, &children).await {
            Ok(made) => Unadopted(Some(made)),
            Err(e) if e.is_unsupported() => return Ok(Err(e.to_string())),
            Err(e) => return Err(failed(e)),
        };
        spare.release();
        let io = ends.connect(&process.stdio, owner).await;
        exec.adopt(made, io).map(Ok)
    }

    async fn run_by_runtime(&self, exec: &Exec, spec: &[u8]) -> Result<oneshot::Receiver<Exit>> {
        let process = &exec.process;
        let stdio = &process.stdio;
        let owner = self.owner(process);
        let files = Files {
            // An exec may be called `init`, whose pid file is the container's own.
            process: self.bundle.join(format!(".exec-{}.json", process.exec_id)),
            pid: self.bundle.join(format!(".exec-{}.pid", process.exec_id)),
        };
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&files.process)
            .and_then(|mut file| file.write_all(spec))
            .map_err(Error::io("write", &files.process))?;
        let args = |console| ExecArgs {
            process: &files.process,
            pid_file: &files.pid,
            console,
        };
        // Once the process runs there are no errors: the runtime has left it to the shim.
        let mut spare = Reserve::take(CONNECTING)?;
        let _hold = self.reaper.hold();
        let made = || {
            let pid = read_pid(&files.pid)?;
            let child = engine::Child::adopted(pid, self.reaper.as_ref());
            Ok(Unadopted(Some(child)))
        };
        if stdio.terminal {
            let console = ConsoleSocket::new()?;
            self.runtime
                .exec(args(Some(console.path())), runtime::Stdio::null()?)
                .await?;
            spare.release();
            let made = made()?;
            let io = ProcessIo::terminal(console.receive().await?, stdio, owner).await;
            return exec.adopt(made, io);
        }
        let (child, ends) = stdio::pipes(stdio, &self.options)?;
        let mut io = ends.held().connect(stdio, owner).await?;
        if let Err(e) = self.runtime.exec(args(None), child).await {
            io.abort().await;
            return Err(e);
        }
        spare.release();
        let made = made()?;
        io.release();
        exec.adopt(made, Ok(io))
    }
}

/// Ends with the deadline, if there is one.
async fn over(deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline).await,
        None => std::future::pending().await,
    }
}
