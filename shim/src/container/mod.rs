//! One container: its init, its execs, its lifecycle.

mod checkpoint;
mod clear;
mod create;
mod delete;
pub mod deps;
mod driver;
mod entrypoint;
mod exec;
mod exit;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hooks;
mod kill;
mod lifecycle;
pub mod linux;
mod news;
mod pause;
pub mod process;
mod record;
mod report;
mod restore;
mod runtime_exec;
mod spawn;
mod start;
mod state;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), allow(dead_code))]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use containerd_shim_protos::api::Status;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use podhook_hooks::config::HookKeys;

use crate::cgroup;
use crate::containerd::options::Options;
use crate::error::{Error, Result};
use crate::runtime::OciRuntime;
use deps::{Cgroup, Deps, Joined, OomLooks};
use driver::Driver;
use exec::Exec;
use process::{ExitInfo, Process};
use state::{ExecOperation, Operation};

/// What hooks and execs join, or why they cannot.
type Target = std::result::Result<Arc<dyn Joined>, String>;

/// A container whose init exists, or is yet to be restored.
pub struct Container {
    pub id: String,
    deps: Arc<Deps>,
    bundle: PathBuf,
    options: Options,
    runtime: Arc<dyn OciRuntime>,
    init: Process,
    execs: Mutex<HashMap<String, Arc<Exec>>>,
    state: Mutex<State>,
    /// Where a container that is yet to be restored comes from.
    checkpoint: Option<restore::Checkpoint>,
    /// Known once init exists.
    cgroup: OnceLock<Box<dyn Cgroup>>,
    target: OnceLock<Target>,
    /// What the node says of its hooks and execs.
    node: HookKeys,
    /// Whether processes may outlive init, because its pid namespace is not its own.
    shared_pid_namespace: bool,
    driver: Mutex<Driver>,
    /// Held while the runtime starts init, and by who handles init's exit: the exit of a process
    /// that ends at once comes after its start.
    starting: tokio::sync::Mutex<()>,
    /// Held over the runtime's pause, resume, update and delete.
    operation: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Freezer {
    #[default]
    Thawed,
    Pausing,
    Paused,
    Thawing,
}

#[derive(Debug, Default)]
struct State {
    /// `Start` was called.
    start_called: bool,
    /// The runtime has started init, which may not be the container's own program yet.
    awaits_entrypoint: bool,
    /// The task is Running as clients see it: no postStart is under way.
    running: bool,
    freezer: Freezer,
    /// Init has ended: no new execs.
    init_gone: bool,
    oom_looks: Option<OomLooks>,
    deleted: bool,
}

/// The process that an RPC is for.
pub enum ProcessRef<'a> {
    /// No exec id.
    Init(&'a Process),
    /// One made by `Exec`.
    Exec(Arc<Exec>),
}

impl ProcessRef<'_> {
    pub fn process(&self) -> &Process {
        match self {
            Self::Init(process) => process,
            Self::Exec(exec) => &exec.process,
        }
    }
}

impl Container {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn execs(&self) -> MutexGuard<'_, HashMap<String, Arc<Exec>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What hooks and execs join, or why they cannot.
    fn target(&self) -> &Target {
        static NO_INIT: OnceLock<Target> = OnceLock::new();
        self.target.get().unwrap_or_else(|| {
            NO_INIT.get_or_init(|| Err("the container was not restored yet".to_owned()))
        })
    }

    /// Init's pid, 0 before it is restored.
    pub fn pid(&self) -> u32 {
        self.init.pid()
    }

    /// The process that an RPC names.
    pub fn process(&self, exec_id: &str) -> Result<ProcessRef<'_>> {
        if exec_id.is_empty() {
            return Ok(ProcessRef::Init(&self.init));
        }
        let exec = self.execs().get(exec_id).cloned();
        exec.map(ProcessRef::Exec)
            .ok_or_else(|| Error::NotFound(format!("process does not exist {exec_id}")))
    }

    /// Waits for the end of a process.
    pub async fn wait(&self, exec_id: &str) -> Result<ExitInfo> {
        let named = self.process(exec_id)?;
        Ok(named.process().wait().await)
    }

    /// Sets a terminal's size.
    pub fn resize(&self, exec_id: &str, width: u32, height: u32) -> Result<()> {
        let named = self.process(exec_id)?;
        let process = named.process();
        if let ProcessRef::Exec(exec) = &named {
            state::check_exec(ExecOperation::Resize, exec.state())?;
        }
        process.io().map_or(Ok(()), |io| io.resize(width, height))
    }

    /// The metrics of the container's cgroup.
    pub fn stats(&self) -> Result<Any> {
        let cgroup = self
            .cgroup
            .get()
            .ok_or_else(|| Error::NotFound("cgroup does not exist".to_owned()))?;
        cgroup.stats().map_err(|e| match e {
            cgroup::Error::Gone { .. } => Error::NotFound("cgroup does not exist".to_owned()),
            other => Error::lower(other),
        })
    }

    /// The state that the table of [`state`] goes by.
    fn stage(&self) -> state::State {
        use state::State as Stage;
        let state = self.lock();
        if state.deleted {
            return Stage::Deleted;
        }
        if self.init.exit().is_some() {
            return Stage::Stopped;
        }
        match (state.freezer, state.start_called, state.running) {
            (Freezer::Pausing, ..) => Stage::Pausing,
            (Freezer::Paused, ..) => Stage::Paused,
            (Freezer::Thawing, ..) => Stage::Thawing,
            (Freezer::Thawed, false, _) if state.init_gone => Stage::CreatedEnding,
            (Freezer::Thawed, true, false) if state.init_gone => Stage::StartingEnding,
            (Freezer::Thawed, true, true) if state.init_gone => Stage::RunningEnding,
            (Freezer::Thawed, false, _) => Stage::Created,
            (Freezer::Thawed, true, false) => Stage::Starting,
            (Freezer::Thawed, true, true) => Stage::Running,
        }
    }

    /// Whether an operation is allowed now.
    fn allows(&self, operation: Operation) -> Result<()> {
        let ending = self.lock().init_gone;
        let stage = match operation {
            // Frozen or not: what has ended is not entered any more.
            Operation::Start | Operation::Exec if ending => state::State::RunningEnding,
            _ => self.stage(),
        };
        state::check(operation, stage)
    }

    /// Init's status as clients see it.
    fn status(&self) -> Status {
        let state = self.lock();
        match (self.init.exit(), state.freezer, state.running) {
            (Some(_), ..) => Status::STOPPED,
            (None, Freezer::Paused | Freezer::Thawing, _) => Status::PAUSED,
            (None, Freezer::Pausing, _) => Status::PAUSING,
            (None, Freezer::Thawed, true) => Status::RUNNING,
            (None, Freezer::Thawed, false) => Status::CREATED,
        }
    }

    /// Whether init exists and has not ended.
    pub fn runs(&self) -> bool {
        self.init.pid() != 0 && self.init.exit().is_none()
    }

    /// One line for a dump of the shim's state.
    pub fn describe(&self) -> String {
        let execs: Vec<_> = self.execs().keys().cloned().collect();
        let phase = self.driver().phase();
        format!(
            "pid={} phase={phase:?} {:?} exit={:?} execs={execs:?}",
            self.pid(),
            self.lock(),
            self.init.exit()
        )
    }
}
