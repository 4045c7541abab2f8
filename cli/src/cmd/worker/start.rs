//! The worker that starts a pod's containers.

use k8s_cri::v1::StartContainerRequest;
use tokio::task::JoinSet;

use crate::cmd::error::Error;
use crate::pods::context::Context;
use crate::pods::detached::{self, Report};

/// Starts the containers in order, none waiting for another: `StartContainer` is answered only
/// when the container's postStart hook has ended. Reports each answer as it comes.
///
/// # Errors
/// When a container did not start; the report says why.
pub async fn run(context: &Context, ids: &[String]) -> Result<(), Error> {
    let mut starts = JoinSet::new();
    for id in ids.iter().cloned() {
        let mut runtime = context.client.runtime.clone();
        // Tasks of this runtime are first polled in the order of their making.
        starts.spawn(async move {
            let request = StartContainerRequest {
                container_id: id.clone(),
            };
            let error = runtime.start_container(request).await.err();
            Report {
                id,
                error: error.map(|status| status.message().to_owned()),
            }
        });
    }
    let mut failed = false;
    while let Some(report) = starts.join_next().await {
        if let Ok(report) = report {
            failed |= report.error.is_some();
            detached::print(&report);
        }
    }
    if failed { Err(Error::Reported) } else { Ok(()) }
}
