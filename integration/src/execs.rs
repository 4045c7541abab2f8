//! containerd's task service over gRPC: many execs at once, without a ctr process for each.

use std::path::Path;

use prost::Message;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes, tag = "2")]
    value: Vec<u8>,
}

/// `ExecProcessRequest`.
#[derive(Clone, PartialEq, Message)]
struct ExecRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(message, tag = "6")]
    spec: Option<Any>,
    #[prost(string, tag = "7")]
    exec_id: String,
}

/// `StartRequest`, `WaitRequest`, `DeleteProcessRequest`.
#[derive(Clone, PartialEq, Message)]
struct ProcessRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
}

/// The part of `WaitResponse` and `DeleteResponse` that is read.
#[derive(Clone, PartialEq, Message)]
struct WaitResponse {
    #[prost(uint32, tag = "1")]
    exit_status: u32,
}

/// The part of `DeleteResponse` that is read.
#[derive(Clone, PartialEq, Message)]
struct DeleteResponse {
    #[prost(uint32, tag = "3")]
    exit_status: u32,
}

/// The execs of one container, through one connection.
#[derive(Debug, Clone)]
pub struct Execs {
    channel: Channel,
    namespace: String,
    container: String,
}

impl Execs {
    /// Connects to containerd's socket.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn connect(address: &Path, namespace: &str, container: &str) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", address.display()))?;
        Ok(Self {
            channel: endpoint.connect().await?,
            namespace: namespace.to_owned(),
            container: container.to_owned(),
        })
    }

    /// Exec, Start, Wait and Delete of an OCI process (JSON) without stdio, as every client does them.
    /// Gives the exit status, as Wait and Delete both said it.
    ///
    /// # Errors
    /// containerd's answer, and two statuses that are not the same.
    pub async fn run(&self, exec_id: &str, process: &[u8]) -> Result<u32, Error> {
        self.start(exec_id, process).await?;
        let waited = self.wait(exec_id).await?;
        let deleted = self.delete(exec_id).await?;
        if waited != deleted {
            return Err(format!("{exec_id}: Wait says {waited}, Delete {deleted}").into());
        }
        Ok(waited)
    }

    /// Exec and Start.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn start(&self, exec_id: &str, process: &[u8]) -> Result<(), Error> {
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: process.to_vec(),
        };
        let exec = ExecRequest {
            container_id: self.container.clone(),
            spec: Some(spec),
            exec_id: exec_id.to_owned(),
        };
        self.call::<_, ()>("/containerd.services.tasks.v1.Tasks/Exec", exec)
            .await?;
        let process = self.process(exec_id);
        self.call::<_, ()>("/containerd.services.tasks.v1.Tasks/Start", process)
            .await
    }

    /// Waits for the end and gives the exit status.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn wait(&self, exec_id: &str) -> Result<u32, Error> {
        let process = self.process(exec_id);
        let exit: WaitResponse = self
            .call("/containerd.services.tasks.v1.Tasks/Wait", process)
            .await?;
        Ok(exit.exit_status)
    }

    /// Deletes an exec that has ended and gives its exit status.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn delete(&self, exec_id: &str) -> Result<u32, Error> {
        let process = self.process(exec_id);
        let exit: DeleteResponse = self
            .call("/containerd.services.tasks.v1.Tasks/DeleteProcess", process)
            .await?;
        Ok(exit.exit_status)
    }

    fn process(&self, exec_id: &str) -> ProcessRequest {
        ProcessRequest {
            container_id: self.container.clone(),
            exec_id: exec_id.to_owned(),
        }
    }

    async fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A, Error>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut request = tonic::Request::new(request);
        let namespace: MetadataValue<_> = self.namespace.parse()?;
        request
            .metadata_mut()
            .insert("containerd-namespace", namespace);
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        grpc.ready().await?;
        let path = PathAndQuery::from_static(method);
        match grpc.unary(request, path, codec).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(format!("{method}: {}", status.message()).into()),
        }
    }
}
