//! A client of task services that costs next to nothing itself: containerd's over gRPC, a shim's over ttrpc.

use std::path::Path;
use std::time::{Duration, Instant};

use containerd_client::services::v1::version_client::VersionClient;
use podhook_integration::execs::Execs;
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use ttrpc::asynchronous::Client as Ttrpc;

use crate::Fallible;

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

    /// Runs the OCI process `process` (JSON) as every client does: Exec, Start, Wait, Delete; without stdio.
    ///
    /// # Errors
    /// containerd's answer, and any exit status but 0.
    pub fn exec(&mut self, container: &str, process: &[u8]) -> Fallible<Duration> {
        self.count += 1;
        let execs = Execs::over(self.channel.clone(), &self.namespace, container)?;
        let start = Instant::now();
        let exec_id = format!("exec-{}", self.count);
        match self.runtime.block_on(execs.run(&exec_id, process))? {
            0 => Ok(start.elapsed()),
            status => Err(format!("exec in {container}: exit status {status}").into()),
        }
    }

    /// As many calls as [`Self::exec`] makes, that no shim hears of: what the client itself costs.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn nothing(&self) -> Fallible<Duration> {
        let mut client = VersionClient::new(self.channel.clone());
        let start = Instant::now();
        for _ in 0..4 {
            self.runtime.block_on(client.version(()))?;
        }
        Ok(start.elapsed())
    }
}

#[derive(Clone, PartialEq, Message)]
struct StateRequest {
    #[prost(string, tag = "1")]
    container_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct KillRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(uint32, tag = "3")]
    signal: u32,
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
        let request = StateRequest {
            container_id: container.to_owned(),
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
