//! What the container says of itself: State, Pids.

use std::collections::HashMap;

use containerd_shim_protos::api::{ProcessInfo, StateResponse, Status};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::ProcessDetails;

use super::{Container, ProcessRef};
use crate::cgroup;
use crate::containerd::timestamp::timestamp;
use crate::error::{Error, Result};

impl Container {
    pub fn state(&self, exec_id: &str) -> Result<StateResponse> {
        let named = self.process(exec_id)?;
        let process = named.process();
        let of_init = self.status();
        let status = match &named {
            ProcessRef::Init(_) => of_init,
            // A frozen container's execs are frozen with it.
            ProcessRef::Exec(_) if matches!(of_init, Status::PAUSED | Status::PAUSING) => of_init,
            ProcessRef::Exec(exec) => exec.status(),
        };
        let exit = process.exit();
        let stdio = &process.stdio;
        Ok(StateResponse {
            id: self.id.clone(),
            bundle: self.bundle.display().to_string(),
            pid: process.pid(),
            status: status.into(),
            stdin: stdio.stdin.clone(),
            stdout: stdio.stdout.clone(),
            stderr: stdio.stderr.clone(),
            terminal: stdio.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| timestamp(exit.at)).into(),
            exec_id: exec_id.to_owned(),
            ..Default::default()
        })
    }

    /// The container's processes; those made by `Exec` with their exec id.
    ///
    /// A container that has ended names its init until it is deleted: containerd ≥ 1.7 takes an empty
    /// answer after its own restart for a container without a task, and its exit status would be lost.
    pub fn pids(&self) -> Result<Vec<ProcessInfo>> {
        let mut pids = match self.cgroup.get().map(|cgroup| cgroup.pids()) {
            Some(Ok(pids)) => pids,
            // Gone with the last process.
            None | Some(Err(cgroup::Error::Gone { .. })) => Vec::new(),
            Some(Err(e)) => return Err(Error::lower(e)),
        };
        if pids.is_empty() {
            pids.extend(i32::try_from(self.pid()));
        }
        let execs: HashMap<u32, String> = self
            .execs()
            .iter()
            .filter(|(_, exec)| exec.process.exit().is_none())
            .map(|(id, exec)| (exec.process.pid(), id.clone()))
            .collect();
        pids.into_iter()
            .filter_map(|pid| u32::try_from(pid).ok())
            .map(|pid| {
                let info = match execs.get(&pid) {
                    Some(exec_id) => Some(details(exec_id)?),
                    None => None,
                };
                Ok(ProcessInfo {
                    pid,
                    info: info.into(),
                    ..Default::default()
                })
            })
            .collect()
    }
}

fn details(exec_id: &str) -> Result<Any> {
    let details = ProcessDetails {
        exec_id: exec_id.to_owned(),
        ..Default::default()
    };
    let value = details
        .write_to_bytes()
        .map_err(Error::failed("encode process details"))?;
    Ok(Any {
        type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
        value,
        ..Any::default()
    })
}
