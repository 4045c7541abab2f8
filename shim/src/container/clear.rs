//! What a Create that failed has left is cleared away: at once, or as soon as that can be.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cgroup::Leftover;
use crate::containerd::options::Options;
use crate::error::{Error, Result};
use crate::host::{apart, bundle};
use crate::runtime::Runtime;
use crate::server::shim::Shim;

/// The pauses between two tries, and how many there are: about 10 minutes.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const TRIES: usize = 25;

/// What the OCI runtime has left of a container.
pub(super) struct Remains {
    runtime: Arc<Runtime>,
    cgroups_path: String,
    systemd: bool,
}

impl Remains {
    /// Those of the container in `bundle`.
    pub(super) fn new(runtime: &Arc<Runtime>, bundle: &Path, options: &Options) -> Self {
        Self {
            runtime: Arc::clone(runtime),
            cgroups_path: bundle::cgroups_path(bundle),
            systemd: options.systemd_cgroup,
        }
    }

    /// Clears them away. Where that fails, for want of processes say, it is tried again in the background, and until
    /// it is done the id is taken. A shim that ends before leaves it to `delete`.
    pub(super) async fn clear(self, shim: &Arc<Shim>, id: &str) {
        let Err(e) = self.clear_once().await else {
            return;
        };
        log::warn!(id = id; "clear away after a failed create: {e}; trying again");
        let taken = shim.take(id);
        tokio::spawn(async move {
            let mut pause = PAUSE_MIN;
            for _ in 0..TRIES {
                tokio::time::sleep(pause).await;
                if self.clear_once().await.is_ok() {
                    break;
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
            drop(taken);
        });
    }

    async fn clear_once(&self) -> Result<()> {
        self.runtime.delete(true).await?;
        // One that has died before it wrote its state knows nothing of its cgroups.
        let (path, systemd) = (self.cgroups_path.clone(), self.systemd);
        let removed = apart::start(move || {
            let left = Leftover::of(&path, systemd);
            left.remove(Instant::now()).is_ok() && !left.exists()
        });
        match removed.await {
            Ok(true) => Ok(()),
            _ => Err(Error::Unknown("cgroups are left".to_owned())),
        }
    }
}
