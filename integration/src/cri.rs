//! A CRI client whose calls block, for tests that read from top to bottom.

use std::future::Future;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use podhook::cri::Client;
use podhook::cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

pub use podhook::cri::v1;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] podhook::cri::Error),
    /// The client's own threads could not be started.
    #[error("start the CRI client: {0}")]
    Runtime(std::io::Error),
    /// The pod has no process, or containerd does not tell it.
    #[error("the pod has no process")]
    NoProcess,
    /// containerd answered with an error.
    #[error("{call}: {:?}: {}", status.code(), status.message())]
    Call {
        call: &'static str,
        status: Box<Status>,
    },
}

impl Error {
    /// The text of containerd's answer.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Call { status, .. } => status.message(),
            _ => "",
        }
    }

    /// Whether the client's own deadline came before an answer.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        let codes = [Code::DeadlineExceeded, Code::Cancelled];
        matches!(self, Self::Call { status, .. } if codes.contains(&status.code()))
    }
}

/// The CRI services of one containerd.
#[derive(Debug)]
pub struct Cri {
    runtime: Runtime,
    client: Client,
}

/// The limit of a call where the caller sets none; the kubelet's default.
pub const LIMIT: Duration = Duration::from_secs(120);

impl Cri {
    /// Connects to the socket; the connection comes back by itself after a restart of containerd.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn connect(address: &Path) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        let client = runtime.block_on(Client::connect(address))?;
        Ok(Self { runtime, client })
    }

    /// Makes one call of the runtime service with a deadline, which containerd passes on to the shim.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn call<Q, A, F>(
        &self,
        name: &'static str,
        limit: Duration,
        request: Q,
        call: impl FnOnce(RuntimeServiceClient<Channel>, tonic::Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut request = tonic::Request::new(request);
        request.set_timeout(limit);
        let answer = self
            .runtime
            .block_on(call(self.client.runtime.clone(), request));
        answer
            .map(Response::into_inner)
            .map_err(|status| Error::Call {
                call: name,
                status: Box::new(status),
            })
    }

    /// The process that is there for a pod, which containerd tells in the verbose status.
    ///
    /// # Errors
    /// containerd's answer, and [`Error::NoProcess`].
    pub fn sandbox_pid(&self, pod: &str) -> Result<i32, Error> {
        let answer = self.pod_sandbox_status(v1::PodSandboxStatusRequest {
            pod_sandbox_id: pod.to_owned(),
            verbose: true,
        })?;
        let info = answer.info.get("info").map_or("", String::as_str);
        let info: serde_json::Value = serde_json::from_str(info).unwrap_or_default();
        let pid = info["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        pid.filter(|pid| *pid > 0).ok_or(Error::NoProcess)
    }

    /// True when containerd's CRI knows this image.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn has_image(&self, reference: &str) -> Result<bool, Error> {
        let image = v1::ImageSpec {
            image: reference.to_owned(),
            ..Default::default()
        };
        let request = v1::ImageStatusRequest {
            image: Some(image),
            verbose: false,
        };
        let mut client = self.client.images.clone();
        let answer = self.runtime.block_on(client.image_status(request));
        let answer = answer.map_err(|status| Error::Call {
            call: "ImageStatus",
            status: Box::new(status),
        })?;
        Ok(answer.into_inner().image.is_some())
    }
}

/// CRI's request of a change of a pod's resources, which the crate does not have.
#[derive(Clone, PartialEq, prost::Message)]
struct UpdatePodSandboxResources {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    resources: Option<v1::LinuxContainerResources>,
}

impl Cri {
    /// CRI `UpdatePodSandboxResources`, which the kubelet calls when it has changed the pod's cgroup.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn update_pod_sandbox_resources(
        &self,
        pod: &str,
        resources: v1::LinuxContainerResources,
    ) -> Result<(), Error> {
        let request = UpdatePodSandboxResources {
            pod_sandbox_id: pod.to_owned(),
            resources: Some(resources),
        };
        let mut grpc = tonic::client::Grpc::new(self.client.channel.clone());
        self.call(
            "UpdatePodSandboxResources",
            LIMIT,
            request,
            |_, request| async move {
                let ready = grpc.ready().await;
                ready.map_err(|e| Status::unavailable(e.to_string()))?;
                let codec = tonic_prost::ProstCodec::<_, ()>::default();
                let path = "/runtime.v1.RuntimeService/UpdatePodSandboxResources";
                grpc.unary(request, PathAndQuery::from_static(path), codec)
                    .await
            },
        )
    }
}

/// A method that makes one call; `call!(RunPodSandbox run_pod_sandbox RunPodSandboxRequest RunPodSandboxResponse)`.
macro_rules! calls {
    ($($name:literal $method:ident $request:ident $response:ident;)*) => {
        impl Cri {$(
            #[doc = concat!("CRI `", $name, "`.")]
            ///
            /// # Errors
            /// containerd's answer.
            pub fn $method(&self, request: v1::$request) -> Result<v1::$response, Error> {
                self.call($name, LIMIT, request, |mut client, request| async move { client.$method(request).await })
            }
        )*}
    };
}

calls! {
    "RunPodSandbox" run_pod_sandbox RunPodSandboxRequest RunPodSandboxResponse;
    "StopPodSandbox" stop_pod_sandbox StopPodSandboxRequest StopPodSandboxResponse;
    "RemovePodSandbox" remove_pod_sandbox RemovePodSandboxRequest RemovePodSandboxResponse;
    "PodSandboxStatus" pod_sandbox_status PodSandboxStatusRequest PodSandboxStatusResponse;
    "CreateContainer" create_container CreateContainerRequest CreateContainerResponse;
    "StopContainer" stop_container StopContainerRequest StopContainerResponse;
    "RemoveContainer" remove_container RemoveContainerRequest RemoveContainerResponse;
    "ContainerStatus" container_status ContainerStatusRequest ContainerStatusResponse;
    "ListContainers" list_containers ListContainersRequest ListContainersResponse;
    "Exec" exec ExecRequest ExecResponse;
    "ExecSync" exec_sync ExecSyncRequest ExecSyncResponse;
    "ContainerStats" container_stats ContainerStatsRequest ContainerStatsResponse;
    "UpdateContainerResources" update_container_resources UpdateContainerResourcesRequest UpdateContainerResourcesResponse;
    "ReopenContainerLog" reopen_container_log ReopenContainerLogRequest ReopenContainerLogResponse;
    "ListContainerStats" list_container_stats ListContainerStatsRequest ListContainerStatsResponse;
    "PodSandboxStats" pod_sandbox_stats PodSandboxStatsRequest PodSandboxStatsResponse;
    "ListPodSandboxStats" list_pod_sandbox_stats ListPodSandboxStatsRequest ListPodSandboxStatsResponse;
    "ListPodSandbox" list_pod_sandbox ListPodSandboxRequest ListPodSandboxResponse;
    "Attach" attach AttachRequest AttachResponse;
    "PortForward" port_forward PortForwardRequest PortForwardResponse;
    "Status" status StatusRequest StatusResponse;
    "CheckpointContainer" checkpoint_container CheckpointContainerRequest CheckpointContainerResponse;
}

/// What containerd tells of pods and containers as it happens.
#[derive(Debug)]
pub struct ContainerEvents {
    events: Receiver<v1::ContainerEventResponse>,
    reader: JoinHandle<()>,
}

impl ContainerEvents {
    /// The next one of a pod's within a time: the container's id, and what happened.
    #[must_use]
    pub fn next(&self, pod: &str, limit: Duration) -> Option<(String, &'static str)> {
        loop {
            let event = self.events.recv_timeout(limit).ok()?;
            let status = event.pod_sandbox_status.as_ref();
            if event.container_id == pod || status.is_some_and(|status| status.id == pod) {
                let what = event.container_event_type().as_str_name();
                return Some((event.container_id, what));
            }
        }
    }
}

impl Drop for ContainerEvents {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Cri {
    /// CRI `GetContainerEvents`. containerd answers with the first event, and does not say from when on it tells them.
    #[must_use]
    pub fn container_events(&self) -> ContainerEvents {
        let (sender, events) = mpsc::channel();
        let mut client = self.client.runtime.clone();
        let reader = self.runtime.spawn(async move {
            let answer = client.get_container_events(v1::GetEventsRequest {}).await;
            let Ok(answer) = answer else { return };
            let mut stream = answer.into_inner();
            while let Ok(Some(event)) = stream.message().await {
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        ContainerEvents { events, reader }
    }

    /// CRI `StartContainer` with a deadline of its own.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn start_container_within(&self, id: &str, limit: Duration) -> Result<(), Error> {
        let request = v1::StartContainerRequest {
            container_id: id.to_owned(),
        };
        self.call(
            "StartContainer",
            limit,
            request,
            |mut client, request| async move { client.start_container(request).await },
        )?;
        Ok(())
    }
}
