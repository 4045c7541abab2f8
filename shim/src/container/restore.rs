//! Restore: Create with a checkpoint only prepares; Start brings the processes back.

use std::path::PathBuf;
use std::sync::Arc;

use containerd_shim_protos::api::CreateTaskRequest;
use podhook_hooks::config_json;

use super::Container;
use super::spawn::{Call, Spawn, Unmade};
use crate::error::Result;
use crate::host::descriptors::{CLEARING, Reserve};

/// What a container is restored from.
pub(super) struct Checkpoint {
    pub(super) image: PathBuf,
    /// The images that these build on.
    pub(super) parent: Option<PathBuf>,
    /// Hooks print to the container's own output.
    hook_output: bool,
}

impl Checkpoint {
    /// What the request names, if anything.
    pub(super) fn new(request: &CreateTaskRequest, hook_output: bool) -> Option<Self> {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        Some(Self {
            image: path(&request.checkpoint)?,
            parent: path(&request.parent_checkpoint),
            hook_output,
        })
    }
}

impl Container {
    /// Restores init, which runs on at once.
    pub(super) async fn restore(self: &Arc<Self>, checkpoint: &Checkpoint) -> Result<()> {
        let config = config_json::container(&self.bundle)?;
        let mut spare = Reserve::take(CLEARING)?;
        let pid_file = self.bundle.join("init.pid");
        let spawn = Spawn {
            deps: &self.deps,
            runtime: self.runtime.as_ref(),
            options: &self.options,
            bundle: &self.bundle,
            call: Call::Restore(checkpoint),
            pid_file: &pid_file,
        };
        let made = spawn.init(&self.id, &self.init, checkpoint.hook_output);
        let failed = match made.await {
            Ok(exit) => {
                let adopted = self.adopt(&config.spec);
                tokio::spawn(Arc::clone(self).watch_init(exit));
                adopted.map_err(Unmade::left)
            }
            Err(unmade) => Err(unmade),
        };
        let Err(Unmade { error, left }) = failed else {
            return Ok(());
        };
        spare.release();
        if left && let Err(e) = self.runtime.delete(true).await {
            // Start may be asked again, or Delete, which does the same.
            log::warn!(id = self.id.as_str(); "delete after a failed restore: {e}");
        }
        Err(error)
    }
}
