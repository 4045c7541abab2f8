//! Restore: Create with a checkpoint only prepares; Start brings the processes back.

use std::path::PathBuf;
use std::sync::Arc;

use containerd_shim_protos::api::CreateTaskRequest;

use super::Container;
use super::birth::{Birth, Unmade};
use crate::error::Result;
use crate::host::bundle;
use crate::host::descriptors::{CLEARING, Reserve};

/// What a container is restored from.
pub(super) struct Checkpoint {
    /// CRIU's images.
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
        let config = bundle::Config::read(&self.bundle)?;
        let birth = Birth {
            id: &self.id,
            namespace: &self.namespace,
            bundle: &self.bundle,
            options: &self.options,
            runtime: &self.runtime,
            reaper: &self.reaper,
            checkpoint: Some(checkpoint),
            hook_output: checkpoint.hook_output,
        };
        let mut spare = Reserve::take(CLEARING)?;
        let failed = match birth.make(&self.init).await {
            Ok(exit) => {
                let adopted = self.adopt(&config.spec);
                tokio::spawn(Arc::clone(self).watch_init(exit));
                adopted.map_err(|error| Unmade { error, left: true })
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
