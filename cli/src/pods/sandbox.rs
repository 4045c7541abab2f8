//! The end of a sandbox.

use k8s_cri::v1::{RemovePodSandboxRequest, StopPodSandboxRequest};

use crate::cri;

/// Stops a sandbox and removes it with its containers.
///
/// # Errors
/// Where containerd does not. It may while a start is being answered, and where it cannot take the network down.
pub async fn remove_sandbox(client: &cri::Client, id: &str) -> Result<(), cri::Error> {
    let mut runtime = client.runtime.clone();
    let stop = StopPodSandboxRequest {
        pod_sandbox_id: id.to_owned(),
    };
    runtime
        .stop_pod_sandbox(stop)
        .await
        .map_err(cri::Error::call("StopPodSandbox"))?;
    let remove = RemovePodSandboxRequest {
        pod_sandbox_id: id.to_owned(),
    };
    runtime
        .remove_pod_sandbox(remove)
        .await
        .map_err(cri::Error::call("RemovePodSandbox"))?;
    Ok(())
}
