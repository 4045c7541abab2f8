//! containerd's task API as Go clients use it: for call sequences that ctr does not make.

use std::path::Path;
use std::time::Duration;

use containerd_client::services::v1 as api;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::MountsRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::wait::scaled;

/// The limit of a call that the caller gives up on; nerdctl and docker give none.
const LIMIT: Duration = Duration::from_secs(60);

/// What containerd or the client itself said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error("connect to containerd: {0}")]
    Connect(#[from] tonic::transport::Error),
    /// The client's own threads could not be started.
    #[error("start the client: {0}")]
    Runtime(#[from] std::io::Error),
    /// containerd answered with an error.
    #[error("{call}: {:?}: {}", status.code(), status.message())]
    Call {
        call: &'static str,
        status: Box<Status>,
    },
}

impl Error {
    /// The gRPC code of containerd's answer; `Unknown` where there was none.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Call { status, .. } => status.code(),
            _ => Code::Unknown,
        }
    }
}

/// A process as `Get` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// `CREATED`, `RUNNING`, `STOPPED`, `PAUSED`, `PAUSING`.
    pub status: &'static str,
    pub pid: u32,
    /// Its exit status, once it has one.
    pub exit_status: u32,
}

/// Where the streams of a process go: URIs or paths of fifos; empty for none.
#[derive(Debug, Clone, Default)]
pub struct Stdio {
    pub stdin: String,
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// One terminal for all of them.
    pub terminal: bool,
}

/// Both outputs to one file. The original shim crashes on `file://` for one of them alone.
#[must_use]
pub fn to_file(path: &Path) -> Stdio {
    let uri = format!("file://{}", path.display());
    Stdio {
        stdout: uri.clone(),
        stderr: uri,
        ..Default::default()
    }
}

/// The services of one containerd in one namespace, calls of which block.
#[derive(Debug)]
pub struct Tasks {
    runtime: Runtime,
    channel: Channel,
    namespace: String,
}

impl Tasks {
    /// Connects to containerd's socket.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn connect(address: &Path, namespace: &str) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", address.display()))?;
        Ok(Self {
            channel: runtime.block_on(endpoint.connect())?,
            runtime,
            namespace: namespace.to_owned(),
        })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(scaled(LIMIT));
        if let Ok(namespace) = MetadataValue::try_from(&self.namespace) {
            request
                .metadata_mut()
                .insert("containerd-namespace", namespace);
        }
        request
    }

    fn call<Q, A, F>(
        &self,
        call: &'static str,
        message: Q,
        make: impl FnOnce(TasksClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let client = TasksClient::new(self.channel.clone());
        let answer = self.runtime.block_on(make(client, self.request(message)));
        answer.map(Response::into_inner).map_err(failed(call))
    }

    /// `Create` of a task for a container that ctr has created, on its own snapshot.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn create(&self, id: &str, stdio: &Stdio) -> Result<u32, Error> {
        let mut snapshots = SnapshotsClient::new(self.channel.clone());
        let mut containers = ContainersClient::new(self.channel.clone());
        let get = self.request(api::GetContainerRequest { id: id.to_owned() });
        let container = self
            .runtime
            .block_on(containers.get(get))
            .map_err(failed("Containers.Get"))?
            .into_inner()
            .container
            .unwrap_or_default();
        let mounts = self.request(MountsRequest {
            snapshotter: container.snapshotter,
            key: container.snapshot_key,
        });
        let rootfs = self
            .runtime
            .block_on(snapshots.mounts(mounts))
            .map_err(failed("Mounts"))?
            .into_inner()
            .mounts;
        let request = api::CreateTaskRequest {
            container_id: id.to_owned(),
            rootfs,
            stdin: stdio.stdin.clone(),
            stdout: stdio.stdout.clone(),
            stderr: stdio.stderr.clone(),
            terminal: stdio.terminal,
            ..Default::default()
        };
        let answer = self.call(
            "Create",
            request,
            |mut c, r| async move { c.create(r).await },
        )?;
        Ok(answer.pid)
    }

    /// `Exec` of `args` as root in `/`, not started yet.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn exec(&self, id: &str, exec: &str, args: &[&str], stdio: &Stdio) -> Result<(), Error> {
        self.exec_in("/", id, exec, args, stdio)
    }

    /// The same in another directory.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn exec_in(
        &self,
        cwd: &str,
        id: &str,
        exec: &str,
        args: &[&str],
        stdio: &Stdio,
    ) -> Result<(), Error> {
        let process = json!({
            "args": args,
            "cwd": cwd,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "terminal": stdio.terminal,
            "user": {"uid": 0, "gid": 0},
        });
        let request = api::ExecProcessRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            stdin: stdio.stdin.clone(),
            stdout: stdio.stdout.clone(),
            stderr: stdio.stderr.clone(),
            terminal: stdio.terminal,
            spec: Some(prost_types::Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
                value: process.to_string().into_bytes(),
            }),
        };
        self.call("Exec", request, |mut c, r| async move { c.exec(r).await })
    }

    /// `Get`, which asks the shim for `State`; `exec` empty for the first process, as everywhere here.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn state(&self, id: &str, exec: &str) -> Result<State, Error> {
        let request = api::GetRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
        };
        let answer = self.call("Get", request, |mut c, r| async move { c.get(r).await })?;
        let process = answer.process.unwrap_or_default();
        Ok(State {
            status: process.status().as_str_name(),
            pid: process.pid,
            exit_status: process.exit_status,
        })
    }

    /// `Start`; gives the process id.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn start(&self, id: &str, exec: &str) -> Result<u32, Error> {
        let request = api::StartRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
        };
        let answer = self.call("Start", request, |mut c, r| async move { c.start(r).await })?;
        Ok(answer.pid)
    }

    /// `Kill`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn kill(&self, id: &str, exec: &str, signal: i32, all: bool) -> Result<(), Error> {
        let request = api::KillRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            signal: signal.unsigned_abs(),
            all,
        };
        self.call("Kill", request, |mut c, r| async move { c.kill(r).await })
    }

    /// `Wait`; gives the exit status.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn wait(&self, id: &str, exec: &str) -> Result<u32, Error> {
        let request = api::WaitRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
        };
        let answer = self.call("Wait", request, |mut c, r| async move { c.wait(r).await })?;
        Ok(answer.exit_status)
    }

    /// `Delete`, of the task or with `exec` of that process; gives the exit status.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn delete(&self, id: &str, exec: &str) -> Result<u32, Error> {
        let answer = if exec.is_empty() {
            let request = api::DeleteTaskRequest {
                container_id: id.to_owned(),
            };
            self.call(
                "Delete",
                request,
                |mut c, r| async move { c.delete(r).await },
            )
        } else {
            let request = api::DeleteProcessRequest {
                container_id: id.to_owned(),
                exec_id: exec.to_owned(),
            };
            self.call("DeleteProcess", request, |mut c, r| async move {
                c.delete_process(r).await
            })
        };
        Ok(answer?.exit_status)
    }

    /// `Pause`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn pause(&self, id: &str) -> Result<(), Error> {
        let request = api::PauseTaskRequest {
            container_id: id.to_owned(),
        };
        self.call("Pause", request, |mut c, r| async move { c.pause(r).await })
    }

    /// `Resume`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn resume(&self, id: &str) -> Result<(), Error> {
        let request = api::ResumeTaskRequest {
            container_id: id.to_owned(),
        };
        self.call(
            "Resume",
            request,
            |mut c, r| async move { c.resume(r).await },
        )
    }

    /// `ListPids`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn pids(&self, id: &str) -> Result<Vec<u32>, Error> {
        let request = api::ListPidsRequest {
            container_id: id.to_owned(),
        };
        let answer = self.call("ListPids", request, |mut c, r| async move {
            c.list_pids(r).await
        })?;
        Ok(answer.processes.iter().map(|process| process.pid).collect())
    }

    /// `CloseIO` of standard input.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn close_stdin(&self, id: &str, exec: &str) -> Result<(), Error> {
        let request = api::CloseIoRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            stdin: true,
        };
        self.call(
            "CloseIO",
            request,
            |mut c, r| async move { c.close_io(r).await },
        )
    }

    /// `ResizePty`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn resize(&self, id: &str, exec: &str, width: u32, height: u32) -> Result<(), Error> {
        let request = api::ResizePtyRequest {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            width,
            height,
        };
        self.call("ResizePty", request, |mut c, r| async move {
            c.resize_pty(r).await
        })
    }

    /// `Update` with the JSON of OCI `LinuxResources`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn update(&self, id: &str, resources: &serde_json::Value) -> Result<(), Error> {
        let request = api::UpdateTaskRequest {
            container_id: id.to_owned(),
            resources: Some(prost_types::Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
                    .to_owned(),
                value: resources.to_string().into_bytes(),
            }),
            ..Default::default()
        };
        self.call(
            "Update",
            request,
            |mut c, r| async move { c.update(r).await },
        )
    }

    /// `Metrics` of one task; gives the type of the message and its size.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn metrics(&self, id: &str) -> Result<(String, usize), Error> {
        let request = api::MetricsRequest {
            filters: vec![format!("id=={id}")],
        };
        let answer = self.call(
            "Metrics",
            request,
            |mut c, r| async move { c.metrics(r).await },
        )?;
        let metric = answer.metrics.into_iter().next().unwrap_or_default();
        let data = metric.data.unwrap_or_default();
        Ok((data.type_url, data.value.len()))
    }
}

fn failed(call: &'static str) -> impl FnOnce(Status) -> Error {
    move |status| Error::Call {
        call,
        status: Box::new(status),
    }
}
