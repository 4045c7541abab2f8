//! Kill: signals to init go through the lifecycle.

use std::sync::Arc;

use podhook_hooks::sequence::Event;
use podhook_hooks::task;

use super::exec::GivenUp;
use super::{Container, Freezer, ProcessRef};
use crate::cgroup;
use crate::error::{Error, Result};

impl Container {
    /// Sends a signal to init, or to every process of the container; a stop signal of a container
    /// with a lifecycle starts the termination sequence instead, and returns at once.
    pub async fn kill(self: &Arc<Self>, signal: i32, all: bool) -> Result<()> {
        let paused = self.is_paused();
        match self.step(Event::KillRequested { signal, paused }) {
            Some(signal) => self.pass_on(signal, all, paused).await,
            None => Ok(()),
        }
    }

    /// Whether the container is frozen, by Pause or by another program.
    pub(super) fn is_paused(&self) -> bool {
        let frozen = || self.cgroup.get().is_some_and(|cgroup| cgroup.is_frozen());
        self.lock().freezer == Freezer::Paused || frozen()
    }

    /// Whether it is known that no process is left in its cgroup. With `runtime_calls = "program"` it is the runtime that
    /// has to know.
    pub(super) fn is_deserted(&self) -> bool {
        if !self.options.direct_calls {
            return false;
        }
        match self.cgroup.get().map(|cgroup| cgroup.pids()) {
            Some(Ok(pids)) => pids.is_empty(),
            // systemd removes the cgroup of a scope with the last process.
            Some(Err(cgroup::Error::Gone { .. })) => true,
            _ => false,
        }
    }

    /// Passes a signal on to init, or to every process of the container.
    async fn pass_on(&self, signal: i32, all: bool, paused: bool) -> Result<()> {
        let ended = self.init.exit().is_some();
        if all && (signal != 0 || ended) {
            // Other processes may have outlived init. Where none has, the runtimes answer with success.
            if ended && self.is_deserted() {
                return Ok(());
            }
            // With the first process of a pid namespace the kernel kills all of it.
            let dies_with_init = self.options.direct_calls && !self.shared_pid_namespace;
            if dies_with_init && signal == libc::SIGKILL && !ended && !paused {
                return self.init.signal(signal);
            }
            return self.runtime.kill_all(signal).await.map_err(kill_error);
        }
        if ended {
            return Err(Error::NotFound("process already finished".to_owned()));
        }
        if paused && signal == libc::SIGKILL {
            // On cgroup v1 a frozen process dies only when it is thawed, which the runtime does.
            return self.runtime.kill(signal).await.map_err(kill_error);
        }
        self.init.signal(signal)
    }

    /// Sends a signal to a process made by `Exec`; with `all` to its whole session. (The Go
    /// shim leaves the others alone. A leaf cgroup, as hooks have, the process would see.)
    ///
    /// While Start makes it, SIGKILL ends that at once; another signal waits, as in the Go shim, until it is there.
    pub async fn kill_exec(&self, exec_id: &str, signal: i32, all: bool) -> Result<()> {
        let named = self.process(exec_id)?;
        let ProcessRef::Exec(exec) = &named else {
            return Err(Error::NotFound(format!("process does not exist {exec_id}")));
        };
        if signal == libc::SIGKILL && exec.give_up(GivenUp::Killed) {
            return Ok(());
        }
        drop(exec.settled().await);
        let process = named.process();
        if !all || signal == 0 {
            return process.signal(signal);
        }
        // The error, if it has ended or never was.
        process.signal(0)?;
        let system = &self.deps.system;
        system.signal_session(process.pid().cast_signed(), signal);
        match process.signal(signal) {
            Err(Error::NotFound(_)) => Ok(()),
            other => other,
        }
    }

    /// Sends init its stop signal, which no RPC waits for.
    pub(super) fn send_stop_signal(&self, signal: i32) {
        log::info!(id = self.id.as_str(), signal = podhook_hooks::signal::name(signal).as_str(); "stop signal");
        if let Err(e) = self.init.signal(signal) {
            log::debug!(id = self.id.as_str(); "stop signal: {e}");
        }
    }

    /// Sends init SIGKILL, which no RPC waits for.
    pub(super) fn sigkill_init(self: &Arc<Self>) {
        log::info!(id = self.id.as_str(); "grace period is over, SIGKILL");
        let paused = self.is_paused();
        let container = Arc::clone(self);
        task::spawn(async move {
            if let Err(e) = container.pass_on(libc::SIGKILL, false, paused).await {
                log::debug!(id = container.id.as_str(); "SIGKILL: {e}");
            }
        });
    }
}

/// A process or container that is gone is NotFound, in the Go shim's words.
fn kill_error(error: Error) -> Error {
    match error {
        Error::Runtime(failed) if failed.finished => {
            Error::NotFound("process already finished".to_owned())
        }
        Error::Runtime(failed) if failed.no_container => {
            Error::NotFound("no such container".to_owned())
        }
        other => other,
    }
}
