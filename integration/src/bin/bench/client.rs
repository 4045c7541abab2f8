//! Clients of task services that cost next to nothing themselves: containerd's over gRPC, a shim's over ttrpc.

use std::path::Path;
use std::time::Duration;

use containerd_client::services::v1::version_client::VersionClient;
use containerd_shim_protos::protobuf::Message;
use podhook_integration::execs::Execs;
use podhook_integration::protocol;
use podhook_integration::protocol::connection::Connection;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};

use crate::Fallible;
use crate::rounds::timed;

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
        let exec_id = format!("exec-{}", self.count);
        let run = || self.runtime.block_on(execs.run(&exec_id, process));
        match timed(run)? {
            (0, elapsed) => Ok(elapsed),
            (status, _) => Err(format!("exec in {container}: exit status {status}").into()),
        }
    }

    /// As many calls as [`Self::exec`] makes, that no shim hears of: what the client itself costs.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn nothing(&self) -> Fallible<Duration> {
        let mut client = VersionClient::new(self.channel.clone());
        let calls = async {
            for _ in 0..4 {
                client.version(()).await?;
            }
            Fallible::Ok(())
        };
        let ((), elapsed) = timed(|| self.runtime.block_on(calls))?;
        Ok(elapsed)
    }
}

/// The task service of one shim, without containerd between.
#[derive(Clone)]
pub struct Direct {
    client: Connection,
    service: String,
}

impl Direct {
    /// Connects to an address as the verb `start` prints it.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn connect(address: &str, version: i64) -> Fallible<Self> {
        Ok(Self {
            client: Connection::to(address)?,
            service: format!("containerd.task.v{version}.Task"),
        })
    }

    /// One call, and how long it took until the answer.
    ///
    /// # Errors
    /// The shim's answer.
    pub fn call(&self, method: &str, request: &impl Message) -> Fallible<Duration> {
        self.call_bytes(method, request.write_to_bytes()?)
    }

    /// The same with an encoded request.
    ///
    /// # Errors
    /// The shim's answer.
    pub fn call_bytes(&self, method: &str, payload: Vec<u8>) -> Fallible<Duration> {
        let ((), elapsed) = timed(|| protocol::runtime().block_on(self.answered(method, payload)))?;
        Ok(elapsed)
    }

    /// The same without waiting for it: to be run on [`protocol::runtime`].
    ///
    /// # Errors
    /// The shim's answer.
    pub async fn answered(&self, method: &str, payload: Vec<u8>) -> Fallible<()> {
        let request = ttrpc::Request {
            service: self.service.clone(),
            method: method.to_owned(),
            payload,
            ..Default::default()
        };
        let answer = self.client.request(request).await;
        answer.map_err(|error| format!("{method}: {error}"))?;
        Ok(())
    }
}
