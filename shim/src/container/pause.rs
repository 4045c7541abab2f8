//! Pause, Resume and Update.

use std::io::{Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use containerd_shim_protos::events::task::{TaskPaused, TaskResumed};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::state::{self, Operation, State};
use super::{Container, Freezer};
use crate::error::{Error, Result};

impl Container {
    pub async fn pause(&self) -> Result<()> {
        let _operation = self.operation.lock().await;
        self.allows(Operation::Pause)?;
        self.lock().freezer = Freezer::Pausing;
        let paused = self.runtime.pause().await;
        self.lock().freezer = if paused.is_ok() {
            Freezer::Paused
        } else {
            Freezer::Thawed
        };
        paused?;
        if self.lock().init_gone {
            // Init ended meanwhile, and its exit was handled before the container was marked as paused.
            self.thaw().await;
            return state::check(Operation::Pause, State::Stopped);
        }
        self.deps.events.publish(TaskPaused {
            container_id: self.id.clone(),
            ..Default::default()
        });
        Ok(())
    }

    pub async fn resume(&self) -> Result<()> {
        let _operation = self.operation.lock().await;
        self.allows(Operation::Resume)?;
        // What it does first may be to end: who handles that need not thaw it again.
        self.lock().freezer = Freezer::Thawing;
        if let Err(e) = self.runtime.resume().await {
            self.lock().freezer = Freezer::Paused;
            if self.lock().init_gone {
                self.thaw().await;
            }
            return Err(e);
        }
        self.lock().freezer = Freezer::Thawed;
        self.deps.events.publish(TaskResumed {
            container_id: self.id.clone(),
            ..Default::default()
        });
        Ok(())
    }

    /// Thaws a container whose init has ended while it was paused: the rest of it could not end.
    pub(super) async fn thaw(&self) {
        if self.lock().freezer != Freezer::Paused {
            return;
        }
        if let Err(e) = self.runtime.resume().await {
            log::warn!(id = self.id.as_str(); "resume a container that has ended: {e}");
        }
        self.lock().freezer = Freezer::Thawed;
    }

    /// Changes its limits: `resources` is the OCI object as JSON.
    pub async fn update(&self, resources: &[u8]) -> Result<()> {
        let _operation = self.operation.lock().await;
        self.allows(Operation::Update)?;
        let fd = memfd_create(c"resources", MFdFlags::MFD_CLOEXEC)
            .map_err(Error::sys("create a memfd"))?;
        let mut file = std::fs::File::from(fd);
        file.write_all(resources)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .map_err(Error::sys("write the resources"))?;
        self.runtime.update(OwnedFd::from(file)).await
    }
}
