//! What a Create that failed has left with the OCI runtime is deleted: at once, or as soon as that can be.

use std::{sync::Arc, time::Duration};

use crate::{runtime::Runtime, shim::Shim};

/// The pauses between two tries.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Deletes container `id`. Where that fails, for want of processes say, it is tried again in the background, and until
/// it is done the id is taken. A shim that ends before leaves it to `delete`.
pub(super) async fn clear(shim: &Arc<Shim>, id: &str, runtime: Arc<Runtime>) {
    let Err(e) = runtime.delete(true).await else {
        return;
    };
    log::warn!(id = id; "delete after a failed create: {e}; trying again");
    let taken = shim.take(id);
    tokio::spawn(async move {
        let mut pause = PAUSE_MIN;
        loop {
            tokio::time::sleep(pause).await;
            if runtime.delete(true).await.is_ok() {
                break;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        drop(taken);
    });
}
