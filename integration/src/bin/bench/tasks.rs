//! A client of task services that costs next to nothing itself: containerd's over gRPC, a shim's over ttrpc.

use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use ttrpc::asynchronous::Client as Ttrpc;

use crate::Fallible;

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

/// `StartRequest`, `WaitRequest`, `DeleteProcessRequest`, and the shim's `StateRequest`.
#[derive(Clone, PartialEq, Message)]
struct ProcessRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
}

/// `KillRequest` of a shim.
#[derive(Clone, PartialEq, Message)]
struct KillRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(uint32, tag = "3")]
    signal: u32,
}

/// The part of `WaitResponse` that is read.
#[derive(Clone, PartialEq, Message)]
struct WaitResponse {
    #[prost(uint32, tag = "1")]
    exit_status: u32,
}

/// containerd's task service in one namespace.
#[derive(Debug)]
pub struct Tasks {
    runtime: Runtime,
    channel: Channel,
    namespace: String,
    count: u64,
}

impl Tasks {
    /// Connects to containerd's socket.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn connect(address: &Path, namespace: &str) -> Fallible<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", address.display()))?;
        Ok(Self {
            channel: runtime.block_on(endpoint.connect())?,
            runtime,
            namespace: namespace.to_owned(),
            count: 0,
        })
    }

    fn call<Q, A>(&self, method: &'static str, request: Q) -> Fallible<A>
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
        let answer = self.runtime.block_on(async {
            grpc.ready().await?;
            let path = PathAndQuery::from_static(method);
            let answer = grpc.unary(request, path, codec).await?;
            Ok::<A, Box<dyn std::error::Error + Send + Sync>>(answer.into_inner())
        });
        answer.map_err(|error| format!("{method}: {error}").into())
    }

    /// Runs the OCI process `process` (JSON) as every client does: Exec, Start, Wait, Delete; without stdio.
    ///
    /// # Errors
    /// containerd's answer, and any exit status but 0.
    pub fn exec(&mut self, container: &str, process: &[u8]) -> Fallible<Duration> {
        self.count += 1;
        let start = Instant::now();
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: process.to_vec(),
        };
        let exec_id = format!("exec-{}", self.count);
        let request = ExecRequest {
            container_id: container.to_owned(),
            spec: Some(spec),
            exec_id: exec_id.clone(),
        };
        let process = ProcessRequest {
            container_id: container.to_owned(),
            exec_id,
        };
        self.call::<_, ()>("/containerd.services.tasks.v1.Tasks/Exec", request)?;
        self.call::<_, ()>("/containerd.services.tasks.v1.Tasks/Start", process.clone())?;
        let exit: WaitResponse =
            self.call("/containerd.services.tasks.v1.Tasks/Wait", process.clone())?;
        self.call::<_, ()>("/containerd.services.tasks.v1.Tasks/DeleteProcess", process)?;
        match exit.exit_status {
            0 => Ok(start.elapsed()),
            status => Err(format!("exec in {container}: exit status {status}").into()),
        }
    }

    /// As many calls as [`Self::exec`] makes, that no shim hears of: what the client itself costs.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn nothing(&self) -> Fallible<Duration> {
        let start = Instant::now();
        for _ in 0..4 {
            self.call::<_, ()>("/containerd.services.version.v1.Version/Version", ())?;
        }
        Ok(start.elapsed())
    }
}

/// The task service of one shim, without containerd between.
pub struct Shim {
    runtime: Runtime,
    client: Ttrpc,
}

impl Shim {
    /// Connects to the shim's socket.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn connect(socket: &Path) -> Fallible<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let address = format!("unix://{}", socket.display());
        Ok(Self {
            client: runtime.block_on(Ttrpc::connect(&address))?,
            runtime,
        })
    }

    fn call(&self, method: &str, payload: Vec<u8>) -> Fallible<Duration> {
        let request = ttrpc::Request {
            // Version 2 of the service, the one that every shim has.
            service: "containerd.task.v2.Task".to_owned(),
            method: method.to_owned(),
            payload,
            ..Default::default()
        };
        let start = Instant::now();
        let answer = self.runtime.block_on(self.client.request(request));
        let elapsed = start.elapsed();
        answer.map_err(|error| format!("{method}: {error}"))?;
        Ok(elapsed)
    }

    /// `State` of a container's init.
    ///
    /// # Errors
    /// The shim's answer.
    pub fn state(&self, container: &str) -> Fallible<Duration> {
        let request = ProcessRequest {
            container_id: container.to_owned(),
            exec_id: String::new(),
        };
        self.call("State", request.encode_to_vec())
    }

    /// `Kill` of a container's init.
    ///
    /// # Errors
    /// The shim's answer.
    pub fn kill(&self, container: &str, signal: u32) -> Fallible<Duration> {
        let request = KillRequest {
            container_id: container.to_owned(),
            signal,
        };
        self.call("Kill", request.encode_to_vec())
    }
}
