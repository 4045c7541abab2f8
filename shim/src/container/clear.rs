//! What a Create that failed has left is cleared away: at once, or as soon as that can be.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use podhook_hooks::config_json;
use podhook_hooks::task;

use super::deps::Deps;
use crate::containerd::options::Options;
use crate::error::{Error, Result};
use crate::runtime::OciRuntime;

/// The pauses between two tries, and how many there are: about 10 minutes.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const TRIES: usize = 25;

/// What the OCI runtime has left of a container.
pub(super) struct Remains {
    runtime: Arc<dyn OciRuntime>,
    deps: Arc<Deps>,
    cgroups_path: String,
    systemd: bool,
}

impl Remains {
    /// Those of the container in `bundle`.
    pub(super) fn new(
        deps: &Arc<Deps>,
        runtime: &Arc<dyn OciRuntime>,
        bundle: &Path,
        options: &Options,
    ) -> Self {
        Self {
            runtime: Arc::clone(runtime),
            deps: Arc::clone(deps),
            cgroups_path: config_json::cgroups_path(bundle),
            systemd: options.systemd_cgroup,
        }
    }

    /// Clears them away. Where that fails, for want of processes say, it is tried again in the background, and until
    /// it is done the id is taken. A shim that ends before leaves it to `delete`.
    pub(super) async fn clear(self, id: &str) {
        let Err(e) = self.clear_once().await else {
            return;
        };
        log::warn!(id = id; "clear away after a failed create: {e}; trying again");
        let taken = self.deps.taken.take(id);
        task::spawn(async move {
            let mut pause = PAUSE_MIN;
            for _ in 0..TRIES {
                tokio::time::sleep(pause).await;
                if self.clear_once().await.is_ok() {
                    break;
                }
                pause = pause.saturating_mul(2).min(PAUSE_MAX);
            }
            drop(taken);
        });
    }

    async fn clear_once(&self) -> Result<()> {
        self.runtime.delete(true).await?;
        // One that has died before it wrote its state knows nothing of its cgroups.
        let (path, systemd) = (self.cgroups_path.clone(), self.systemd);
        match self.deps.system.remove_cgroups(path, systemd).await {
            true => Ok(()),
            false => Err(Error::Missing("cgroups are left")),
        }
    }
}
