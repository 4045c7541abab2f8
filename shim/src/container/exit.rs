//! The end of init.

use std::sync::{Arc, Weak};
use std::time::Duration;

use containerd_shim_protos::events::task::{TaskExit, TaskOOM};
use podhook_hooks::deadline;
use podhook_hooks::exec::Exit;
use podhook_hooks::sequence::Event;
use tokio::sync::oneshot;

use super::Container;
use super::deps::OomListener;
use super::exec::GivenUp;
use super::process::{ExitInfo, Process};
use crate::containerd::timestamp::timestamp;
use crate::error::{Error, Result, is_exhaustion};
use crate::host::exit_status::{self, ExitStatus};

/// How long init's exit waits for those of the execs that died with it.
const EXECS_LIMIT: Duration = Duration::from_secs(10);
/// How long the last look for an OOM kill may take.
const OOM_LIMIT: Duration = Duration::from_secs(1);

impl Container {
    /// Waits for init and reports its end, in the order that containerd relies on: start, execs'
    /// exits, OOM, init's exit.
    pub(super) async fn watch_init(self: Arc<Self>, exit: oneshot::Receiver<Exit>) {
        let Ok(exit) = exit.await else {
            log::error!(id = self.id.as_str(); "the exit of init was lost");
            return;
        };
        // At once: systemd removes a scope, and the counter with it, as soon as it is empty.
        let oom_killed = self.look_for_oom().await;
        // The runtime may still be starting it.
        let _starting = self.starting.lock().await;
        self.lock().init_gone = true;
        self.give_up_execs();
        if self.shared_pid_namespace
            && !self.is_deserted()
            && let Err(e) = self.runtime.kill_all(libc::SIGKILL).await
        {
            // Nothing left to kill is the usual case.
            log::debug!(id = self.id.as_str(); "kill what init left: {e}");
        }
        self.thaw().await;
        self.step(Event::InitExited);
        // What is known of the hooks, and the answer of a Start that has succeeded, come before the exit.
        self.settled().await;
        if let Some(io) = self.init.io() {
            // containerd waits for the end of the output before it deletes the task.
            io.end_hook_output();
        }
        self.wait_for_execs().await;
        if self.look_for_oom().await || oom_killed {
            self.oom_killed();
        }
        self.lock().oom_looks = None;
        let info = ExitInfo {
            status: exit.status(),
            at: exit.at.wall(),
        };
        self.keep_exit(info);
        self.publish_exit(&self.init, info);
        {
            let mut driver = self.driver();
            driver.record_exit(info);
            self.keep_record(&mut driver);
        }
        self.step(Event::ExitPublished);
    }

    /// Leaves init's exit to the `delete` of a shim that is killed from now on.
    fn keep_exit(&self, info: ExitInfo) {
        let exit = ExitStatus {
            pid: self.init.pid(),
            status: info.status,
            at: info.at,
        };
        match exit.write(&self.bundle) {
            Ok(()) => self
                .deps
                .members
                .keep(&self.id, &self.bundle, exit_status::NAME),
            Err(e) => log::warn!(id = self.id.as_str(); "keep the exit status: {e}"),
        }
    }

    /// What is on its way into a container that has ended never runs, though a pid namespace that is not the
    /// container's own goes on.
    fn give_up_execs(&self) {
        for exec in self.execs().values() {
            exec.give_up(GivenUp::InitGone);
        }
    }

    async fn wait_for_execs(&self) {
        let running: Vec<_> = self
            .execs()
            .values()
            .filter(|exec| exec.process.pid() != 0 && exec.process.exit().is_none())
            .cloned()
            .collect();
        let all = async {
            for exec in &running {
                let _ = exec.process.wait().await;
            }
        };
        if deadline::within(EXECS_LIMIT, all).await.is_none() {
            log::warn!(id = self.id.as_str(); "init has ended, but not every exec");
        }
    }

    /// Records an exit and tells containerd.
    pub(super) fn publish_exit(&self, process: &Process, info: ExitInfo) {
        if !process.set_exit(info) {
            return;
        }
        let id = if process.exec_id.is_empty() {
            &self.id
        } else {
            &process.exec_id
        };
        self.deps.events.publish(TaskExit {
            container_id: self.id.clone(),
            id: id.clone(),
            pid: process.pid(),
            exit_status: info.status,
            exited_at: Some(timestamp(info.at)).into(),
            ..Default::default()
        });
    }

    /// Reports OOM kills as they happen.
    ///
    /// # Errors
    /// Where the kernel has no descriptors for that.
    pub(super) fn watch_oom(self: &Arc<Self>) -> Result<()> {
        let Some(cgroup) = self.cgroup.get() else {
            return Ok(());
        };
        let listener: Weak<Self> = Arc::downgrade(self);
        match cgroup.watch_oom(listener) {
            Ok(looks) => self.lock().oom_looks = Some(looks),
            Err(e) if is_exhaustion(&e) => return Err(Error::lower(e)),
            Err(e) => log::warn!(id = self.id.as_str(); "no OOM events: {e}"),
        }
        Ok(())
    }

    /// Whether there was an OOM kill that is not reported yet, so that it is reported before the exit that
    /// it caused.
    async fn look_for_oom(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let asked = match &self.lock().oom_looks {
            Some(ask) => ask.send(answer).is_ok(),
            None => false,
        };
        asked && matches!(deadline::within(OOM_LIMIT, answered).await, Some(Ok(true)))
    }
}

impl OomListener for Container {
    fn oom_killed(&self) {
        self.deps.events.publish(TaskOOM {
            container_id: self.id.clone(),
            ..Default::default()
        });
    }
}
