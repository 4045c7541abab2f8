//! Delete: of a container that has ended, or was never started.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::events::task::TaskDelete;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use podhook_hooks::deadline;

use super::process::{ExitInfo, Process};
use super::state::{ExecOperation, Operation, check_exec};
use super::{Container, ProcessRef};
use crate::containerd::timestamp::timestamp;
use crate::error::Result;
use crate::host::bundle;

/// How long what a process wrote last may take to reach containerd. CRI gives the whole handling of
/// an exit 10 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// How long a created container's init may take to die.
const CREATED_LIMIT: Duration = Duration::from_secs(5);

/// containerd's exit status of a process whose exit was not seen.
const UNKNOWN_STATUS: u32 = 255;

impl Container {
    /// Removes everything that the container has.
    pub async fn delete(self: &Arc<Self>) -> Result<DeleteResponse> {
        let _operation = self.operation.lock().await;
        self.allows(Operation::Delete)?;
        if self.init.exit().is_none() {
            self.end_created().await;
        }
        drain(&self.init).await;
        self.runtime.delete(false).await?;
        let rootfs = self.bundle.join("rootfs");
        self.deps.system.unmount_rootfs(&rootfs).await?;
        if let Err(e) = bundle::mark_deleted(&self.bundle) {
            // `delete` asks the runtime once more then.
            log::warn!(id = self.id.as_str(); "{e}");
        }
        self.deps.members.remove(&self.id);
        self.lock().deleted = true;
        let exit = self.init.exit();
        self.deps.events.publish(TaskDelete {
            container_id: self.id.clone(),
            pid: self.pid(),
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exited_at(exit),
            ..Default::default()
        });
        let response = response(&self.init);
        // Wake a Wait on a container prepared for restore but never started.
        self.init.set_exit(ExitInfo {
            status: UNKNOWN_STATUS,
            at: SystemTime::now(),
        });
        Ok(response)
    }

    /// The same for a container that the verb `delete` has removed. False where its init has not ended.
    pub async fn forget(self: &Arc<Self>) -> bool {
        let _operation = self.operation.lock().await;
        let ended = deadline::within(CREATED_LIMIT, self.init.wait()).await;
        if ended.is_none() {
            return false;
        }
        drain(&self.init).await;
        self.lock().deleted = true;
        true
    }

    /// Ends an init that still waits for Start, so that its exit is reported before its delete.
    async fn end_created(self: &Arc<Self>) {
        if self.init.signal(libc::SIGKILL).is_ok() {
            let _ = deadline::within(CREATED_LIMIT, self.init.wait()).await;
        }
    }

    /// Forgets a process made by `Exec`. One that Start is making is not forgotten: as in the Go shim this waits
    /// until it runs, or never will.
    pub async fn delete_exec(&self, exec_id: &str) -> Result<DeleteResponse> {
        let named = self.process(exec_id)?;
        if let ProcessRef::Exec(exec) = &named {
            drop(exec.settled().await);
        }
        let process = named.process();
        if let ProcessRef::Exec(exec) = &named {
            check_exec(ExecOperation::Delete, exec.state())?;
        }
        drain(process).await;
        self.execs().remove(exec_id);
        Ok(response(process))
    }
}

async fn drain(process: &Process) {
    let Some(io) = process.io() else { return };
    if deadline::within(DRAIN_LIMIT, io.shutdown()).await.is_none() {
        io.abort().await;
    }
}

fn exited_at(exit: Option<ExitInfo>) -> MessageField<Timestamp> {
    exit.map(|exit| timestamp(exit.at)).into()
}

fn response(process: &Process) -> DeleteResponse {
    let exit = process.exit();
    DeleteResponse {
        pid: process.pid(),
        exit_status: exit.map_or(0, |exit| exit.status),
        exited_at: exited_at(exit),
        ..Default::default()
    }
}
