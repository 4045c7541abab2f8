//! `Kill` of containerd's own task service.
//!
//! While a postStart hook runs, the container is CREATED for CRI, and CRI's `StopContainer` does
//! nothing for it (containerd `container_stop.go`: only RUNNING and UNKNOWN are acted on). The
//! task service has no such rule, and the shim aborts the hook on a stop signal.

use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;

use super::client::{Client, Error};

/// `containerd.services.tasks.v1.KillRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct KillRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
    #[prost(uint32, tag = "3")]
    signal: u32,
    #[prost(bool, tag = "4")]
    all: bool,
}

impl Client {
    /// Sends `signal` to the init process of a CRI container's task.
    ///
    /// # Errors
    /// NotFound when there is no task (yet), or it has ended.
    pub async fn kill_task(&self, container_id: &str, signal: u32) -> Result<(), Error> {
        let error = Error::call("Tasks.Kill");
        let mut request = tonic::Request::new(KillRequest {
            container_id: container_id.to_owned(),
            exec_id: String::new(),
            signal,
            all: false,
        });
        request
            .metadata_mut()
            .insert("containerd-namespace", MetadataValue::from_static("k8s.io"));
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready()
            .await
            .map_err(|e| error(tonic::Status::unavailable(e.to_string())))?;
        let codec = tonic_prost::ProstCodec::<KillRequest, ()>::default();
        let path = PathAndQuery::from_static("/containerd.services.tasks.v1.Tasks/Kill");
        grpc.unary(request, path, codec).await.map_err(error)?;
        Ok(())
    }
}
