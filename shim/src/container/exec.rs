//! Processes made by `Exec`: exec probes, `kubectl exec`, the kubelet's own hooks.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use containerd_shim_protos::api::{ExecProcessRequest, Status};
use containerd_shim_protos::events::task::{TaskExecAdded, TaskExecStarted};
use podhook_hooks::config::ExecEngine;
use podhook_hooks::deadline;
use podhook_hooks::exec::{self as engine, Exit};
use podhook_hooks::task;
use serde_json::Value;
use tokio::sync::oneshot;

use super::deps::Joined;
use super::process::{ExitInfo, Process};
use super::spawn::{Call, Files, Spawn, Unadopted};
use super::state::{ExecOperation, ExecState, Operation, check_exec};
use super::{Container, ProcessRef};
use crate::error::{Error, Result};
use crate::host::descriptors::{CONNECTING, Reserve};
use crate::host::exit_status::KILLED;
use crate::stdio::{self, Owner, ProcessIo, Stdio};

pub struct Exec {
    pub process: Process,
    phase: Mutex<Phase>,
    /// Held by Start until there is a process or never will be: as in the Go shim, signals and Delete wait for that.
    starting: tokio::sync::Mutex<()>,
}

/// What containerd has asked for.
struct Asked {
    /// The OCI process as it was sent, for the OCI runtime.
    spec: Vec<u8>,
    /// The same, read.
    process: engine::Process,
}

/// How far it is.
enum Phase {
    /// Start has not been asked for.
    Added(Box<Asked>),
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
            Self::Killed => Error::ExecGivenUp("killed while it was started"),
            Self::InitGone => no_init(container),
            Self::TooLate => Error::ExecGivenUp("context deadline exceeded"),
        }
    }

    /// The exit that Wait answers with.
    fn status(self) -> u32 {
        match self {
            Self::Killed => KILLED,
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

    /// The state that the table of [`super::state`] goes by.
    pub(super) fn state(&self) -> ExecState {
        match (&*self.phase(), self.status()) {
            (Phase::Added(_), _) => ExecState::Added,
            (Phase::Starting(_), _) => ExecState::Starting,
            (Phase::Started, Status::STOPPED) => ExecState::Stopped,
            (Phase::Started, _) => ExecState::Running,
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From Added to Starting: the process, and the end of the channel where the reason to give up comes.
    fn claim(&self) -> Result<(Box<Asked>, oneshot::Receiver<GivenUp>)> {
        let (sender, given_up) = oneshot::channel();
        let mut phase = self.phase();
        match std::mem::replace(&mut *phase, Phase::Started) {
            Phase::Added(asked) => {
                *phase = Phase::Starting(sender);
                Ok((asked, given_up))
            }
            other => {
                *phase = other;
                drop(phase);
                Err(check_exec(ExecOperation::Start, self.state())
                    .err()
                    .unwrap_or(Error::Missing("no process")))
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

    fn adopt(&self, made: Unadopted, io: Result<ProcessIo>) -> Result<oneshot::Receiver<Exit>> {
        // Without its stdio it must not go on.
        self.process.set_io(io?);
        let made = made.adopt().ok_or(Error::Missing("no process"))?;
        self.process.set_child(made.pid, made.held);
        Ok(made.exit)
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
        {
            let mut execs = self.execs();
            // In the Go shim's order: an id that is taken comes first.
            if execs.contains_key(&exec_id) {
                return Err(Error::AlreadyExists(format!("id {exec_id}")));
            }
            self.allows(Operation::Exec)?;
            let spec = request.spec.value.clone();
            let process = engine::Process::from_json(&spec)
                .map_err(|e| Error::InvalidArgument(e.to_string()))?;
            let exec = Exec {
                process: Process::new(exec_id.clone(), stdio),
                phase: Mutex::new(Phase::Added(Box::new(Asked { spec, process }))),
                starting: tokio::sync::Mutex::default(),
            };
            execs.insert(exec_id.clone(), Arc::new(exec));
        }
        self.deps.events.publish(TaskExecAdded {
            container_id: self.id.clone(),
            exec_id,
            ..Default::default()
        });
        Ok(())
    }

    /// Starts it. `deadline` is the client's: a process that does not run by then never runs.
    pub async fn start_exec(
        self: &Arc<Self>,
        exec_id: &str,
        deadline: Option<Duration>,
    ) -> Result<u32> {
        let ProcessRef::Exec(exec) = self.process(exec_id)? else {
            return Err(Error::NotFound(format!("process does not exist {exec_id}")));
        };
        let starting = exec.starting.lock().await;
        let (asked, given_up) = exec.claim()?;
        // After the claim: when init ends, claimed processes are given up.
        if self.lock().init_gone {
            exec.give_up(GivenUp::InitGone);
        }
        let started = tokio::select! {
            // What is given up is not run, though it may be there.
            biased;
            Ok(why) = given_up => Err((why.error(&self.id), why.status())),
            started = self.make(&exec, &asked) => started.map_err(|e| (e, 255)),
            () = over(deadline) => {
                let why = GivenUp::TooLate;
                Err((why.error(&self.id), why.status()))
            }
        };
        *exec.phase() = Phase::Started;
        let exit = match started {
            Ok(exit) => exit,
            Err((e, status)) => {
                self.deps.counters.lock().exec_failed();
                // A Wait that came before is answered. A process that never ran has no event.
                exec.process.set_exit(ExitInfo {
                    status,
                    at: SystemTime::now(),
                });
                return Err(e);
            }
        };
        let pid = exec.process.pid();
        self.deps.events.publish(TaskExecStarted {
            container_id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            pid,
            ..Default::default()
        });
        drop(starting);
        let container = Arc::clone(self);
        task::spawn(async move {
            let info = match exit.await {
                Ok(exit) => ExitInfo {
                    status: exit.status(),
                    at: exit.at.wall(),
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
    async fn make(&self, exec: &Exec, asked: &Asked) -> Result<oneshot::Receiver<Exit>> {
        if self.is_paused() {
            // Its process would wait for the thaw, and Start with it.
            return Err(Error::ExecGivenUp(
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        // As with the OCI runtime, which takes longer to get there than init does.
        self.entrypoint().await;
        let by_engine = match self.target() {
            Ok(target) if self.node.exec == ExecEngine::Native => {
                self.make_by_engine(target.as_ref(), exec, &asked.process)
                    .await?
            }
            Ok(_) => Err("exec = \"runtime\"".to_owned()),
            Err(reason) => Err(reason.clone()),
        };
        let (exit, engine) = match by_engine {
            Ok(exit) => {
                self.deps.counters.lock().exec_native();
                (exit, "native")
            }
            Err(reason) => {
                log::debug!(id = self.id.as_str(); "exec by the OCI runtime: {reason}");
                let exit = self.make_by_runtime(exec, &asked.spec).await?;
                self.deps.counters.count_runtime_exec(&reason);
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
            namespace: &self.deps.namespace,
        }
    }

    /// The inner error says why the engine cannot do it; nothing was made then.
    async fn make_by_engine(
        &self,
        target: &dyn Joined,
        exec: &Exec,
        command: &engine::Process,
    ) -> Result<std::result::Result<oneshot::Receiver<Exit>, String>> {
        let process = &exec.process;
        let failed = |e: engine::Error| {
            // As runc words it: what the new process came upon, or what kept it from being made.
            let start = match e {
                engine::Error::Start { .. } => "unable to start container process: ",
                _ => "",
            };
            Error::Exec {
                step: start,
                source: e,
            }
        };
        let children = &self.deps.children;
        let owner = self.owner(process);
        if process.stdio.terminal {
            let mut spare = Reserve::take(CONNECTING)?;
            let made = target.spawn_on_terminal(command, children).await;
            let (made, master) = match made {
                Ok((made, master)) => (Unadopted::new(made), master),
                Err(e) if e.is_unsupported() => return Ok(Err(e.to_string())),
                Err(e) => return Err(failed(e)),
            };
            spare.release();
            let io = ProcessIo::terminal(File::from(master), &process.stdio, owner, false).await;
            return exec.adopt(made, io).map(Ok);
        }
        let (child, ends) = stdio::pipes(&process.stdio, &self.options)?;
        let mut spare = Reserve::take(CONNECTING)?;
        let child = engine::Stdio {
            stdin: child.stdin,
            stdout: child.stdout,
            stderr: child.stderr.ok_or(Error::Missing("no stderr"))?,
        };
        let made = match target.spawn(command, child, children).await {
            Ok(made) => Unadopted::new(made),
            Err(e) if e.is_unsupported() => return Ok(Err(e.to_string())),
            Err(e) => return Err(failed(e)),
        };
        spare.release();
        let io = ends.connect(&process.stdio, owner).await;
        exec.adopt(made, io).map(Ok)
    }

    async fn make_by_runtime(&self, exec: &Exec, spec: &[u8]) -> Result<oneshot::Receiver<Exit>> {
        let process = &exec.process;
        // An exec may be called `init`, whose pid file is the container's own.
        let name = format!(".exec-{}", process.exec_id);
        let spec = with_terminal(spec, process.stdio.terminal)?;
        let files = Files::write(&self.bundle, &name, &spec)?;
        let spawn = Spawn {
            deps: &self.deps,
            runtime: self.runtime.as_ref(),
            options: &self.options,
            bundle: &self.bundle,
            call: Call::Exec(&files.process),
            pid_file: &files.pid,
        };
        let owner = self.owner(process);
        let made = spawn.connected(&process.stdio, owner, false).await;
        let (made, io) = made.map_err(|unmade| unmade.error)?;
        exec.adopt(Unadopted::new(made), Ok(io))
    }
}

/// The request says whether there is a terminal, whatever the process itself says.
fn with_terminal(spec: &[u8], terminal: bool) -> Result<Vec<u8>> {
    let failed = Error::failed("the process");
    let mut spec: Value = serde_json::from_slice(spec).map_err(failed)?;
    if let Some(fields) = spec.as_object_mut() {
        fields.insert("terminal".to_owned(), terminal.into());
    }
    Ok(spec.to_string().into_bytes())
}

/// Ends with the deadline, if there is one.
async fn over(limit: Option<Duration>) {
    match limit {
        Some(limit) => deadline::over(deadline::from_now(limit)).await,
        None => std::future::pending().await,
    }
}
