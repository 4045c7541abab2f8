//! containerd's task service over gRPC: many execs at once, without a ctr process for each.

use std::path::Path;

use containerd_client::services::v1 as api;
use containerd_client::services::v1::tasks_client::TasksClient;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The execs of one container, through one connection.
#[derive(Debug, Clone)]
pub struct Execs {
    tasks: TasksClient<Channel>,
    namespace: MetadataValue<tonic::metadata::Ascii>,
    container: String,
}

impl Execs {
    /// Connects to containerd's socket.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn connect(address: &Path, namespace: &str, container: &str) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", address.display()))?;
        Self::over(endpoint.connect().await?, namespace, container)
    }

    /// Through a connection that there is.
    ///
    /// # Errors
    /// A namespace that no header can hold.
    pub fn over(channel: Channel, namespace: &str, container: &str) -> Result<Self, Error> {
        Ok(Self {
            tasks: TasksClient::new(channel),
            namespace: namespace.parse()?,
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
        self.start_with(exec_id, process, "").await
    }

    /// The same with both outputs to a URI; empty for none.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn start_with(
        &self,
        exec_id: &str,
        process: &[u8],
        output: &str,
    ) -> Result<(), Error> {
        let exec = api::ExecProcessRequest {
            stdout: output.to_owned(),
            stderr: output.to_owned(),
            container_id: self.container.clone(),
            exec_id: exec_id.to_owned(),
            spec: Some(prost_types::Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
                value: process.to_vec(),
            }),
            ..Default::default()
        };
        let mut tasks = self.tasks.clone();
        let answer = tasks.exec(self.request(exec)).await;
        answer.map_err(failed("Exec"))?;
        let start = api::StartRequest {
            container_id: self.container.clone(),
            exec_id: exec_id.to_owned(),
        };
        let answer = tasks.start(self.request(start)).await;
        answer.map_err(failed("Start"))?;
        Ok(())
    }

    /// Waits for the end and gives the exit status.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn wait(&self, exec_id: &str) -> Result<u32, Error> {
        let wait = self.request(api::WaitRequest {
            container_id: self.container.clone(),
            exec_id: exec_id.to_owned(),
        });
        let answer = self.tasks.clone().wait(wait).await;
        Ok(answer.map_err(failed("Wait"))?.into_inner().exit_status)
    }

    /// Deletes an exec that has ended and gives its exit status.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn delete(&self, exec_id: &str) -> Result<u32, Error> {
        let delete = self.request(api::DeleteProcessRequest {
            container_id: self.container.clone(),
            exec_id: exec_id.to_owned(),
        });
        let answer = self.tasks.clone().delete_process(delete).await;
        let answer = answer.map_err(failed("DeleteProcess"))?;
        Ok(answer.into_inner().exit_status)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let namespace = self.namespace.clone();
        request
            .metadata_mut()
            .insert("containerd-namespace", namespace);
        request
    }
}

fn failed(call: &'static str) -> impl FnOnce(Status) -> Error {
    move |status| format!("{call}: {}", status.message()).into()
}
