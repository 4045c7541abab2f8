//! The task service, v2 and v3: each RPC a few lines that call one container.
//!
//! ttrpc drops a handler's future at the client's deadline and when containerd goes away. What
//! changes something therefore runs in a task of its own ([`detached`]): the handler only waits.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
    PauseRequest, PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest, ShutdownRequest,
    StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse,
    UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim_protos::shim_async::{Task, create_task};
use containerd_shim_protos::ttrpc;
use containerd_shim_protos::ttrpc::r#async::{Service, TtrpcContext};

use super::shim::Shim;
use crate::container::Container;
use crate::containerd::outstanding;
use crate::containerd::timestamp::timestamp;
use crate::counters;
use crate::error::{Error, Result};

/// What containerd may ask for and no shim of runc's kind has: its methods are unimplemented. (Of a service that is
/// not here at all ttrpc says InvalidArgument.)
const SANDBOX: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// The service under both of its names: the messages are the same.
pub fn services(shim: &Arc<Shim>) -> HashMap<String, Service> {
    let waits = Arc::new(());
    let both = ["containerd.task.v2.Task", "containerd.task.v3.Task"];
    both.into_iter()
        .flat_map(|name| {
            let service = create_task(Arc::new(TaskService(Arc::clone(shim), Arc::clone(&waits))));
            service
                .into_values()
                .map(move |service| (name.to_owned(), service))
        })
        .chain([counters::service(&shim.counters)])
        .chain([(SANDBOX.to_owned(), no_methods())])
        .collect()
}

fn no_methods() -> Service {
    Service {
        methods: HashMap::new(),
        streams: HashMap::new(),
    }
}

/// As many Waits as the shim has at once. It is the one request that is answered nobody knows when: without a limit, a
/// connection could have nothing but Waits outstanding, and nothing else would be read from it (see
/// [`super::outstanding`]).
const WAITS_MAX: usize = outstanding::REQUESTS_MAX / 4 * 3;

/// The service with the Waits that are not answered.
struct TaskService(Arc<Shim>, Arc<()>);

/// Runs `work` to its end whatever becomes of the RPC.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> ttrpc::Result<T> {
    let outcome = tokio::spawn(work).await;
    let outcome = outcome.unwrap_or_else(|e| {
        Err(Error::Unknown(format!(
            "the request failed inside the shim: {e}"
        )))
    });
    outcome.map_err(Into::into)
}

impl TaskService {
    fn container(&self, id: &str) -> Result<Arc<Container>> {
        self.0.container(id)
    }
}

/// What is left of the RPC's own deadline.
fn deadline(context: &TtrpcContext) -> Option<Duration> {
    u64::try_from(context.timeout_nano)
        .ok()
        .filter(|&nanos| nanos > 0)
        .map(Duration::from_nanos)
}

#[async_trait]
impl Task for TaskService {
    async fn create(
        &self,
        _: &TtrpcContext,
        request: CreateTaskRequest,
    ) -> ttrpc::Result<CreateTaskResponse> {
        let shim = Arc::clone(&self.0);
        let pid = detached(async move { shim.create(request).await }).await?;
        Ok(CreateTaskResponse {
            pid,
            ..Default::default()
        })
    }

    async fn start(
        &self,
        context: &TtrpcContext,
        request: StartRequest,
    ) -> ttrpc::Result<StartResponse> {
        let container = self.container(&request.id)?;
        let deadline = deadline(context);
        let pid = detached(async move {
            match request.exec_id.as_str() {
                "" => container.start(deadline).await,
                exec_id => container.start_exec(exec_id, deadline).await,
            }
        })
        .await?;
        Ok(StartResponse {
            pid,
            ..Default::default()
        })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
        Ok(self.container(&request.id)?.state(&request.exec_id)?)
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: DeleteRequest,
    ) -> ttrpc::Result<DeleteResponse> {
        let shim = Arc::clone(&self.0);
        let container = self.container(&request.id)?;
        detached(async move {
            match request.exec_id.as_str() {
                "" => shim.delete(&container).await,
                exec_id => container.delete_exec(exec_id).await,
            }
        })
        .await
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> ttrpc::Result<PidsResponse> {
        let processes = self.container(&request.id)?.pids()?;
        Ok(PidsResponse {
            processes,
            ..Default::default()
        })
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> ttrpc::Result<Empty> {
        self.container(&request.id)?.exec(request)?;
        Ok(Empty::new())
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> ttrpc::Result<Empty> {
        let container = self.container(&request.id)?;
        detached(async move {
            let signal = i32::try_from(request.signal).map_err(|_| {
                Error::InvalidArgument(format!("invalid signal {}", request.signal))
            })?;
            match request.exec_id.as_str() {
                "" => container.kill(signal, request.all).await,
                exec_id => container.kill_exec(exec_id, signal, request.all).await,
            }
        })
        .await?;
        Ok(Empty::new())
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
        // Nothing to finish where the client goes away: waits in the handler.
        let waits = Arc::clone(&self.1);
        if Arc::strong_count(&waits) > WAITS_MAX {
            return Err(Error::ResourceExhausted(format!(
                "{WAITS_MAX} Waits are outstanding already"
            ))
            .into());
        }
        let exit = self.container(&request.id)?.wait(&request.exec_id).await?;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> ttrpc::Result<Empty> {
        let container = self.container(&request.id)?;
        detached(async move { container.pause().await }).await?;
        Ok(Empty::new())
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> ttrpc::Result<Empty> {
        let container = self.container(&request.id)?;
        detached(async move { container.resume().await }).await?;
        Ok(Empty::new())
    }

    async fn checkpoint(
        &self,
        _: &TtrpcContext,
        request: CheckpointTaskRequest,
    ) -> ttrpc::Result<Empty> {
        let container = self.container(&request.id)?;
        detached(async move { container.checkpoint(&request).await }).await?;
        Ok(Empty::new())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: ResizePtyRequest,
    ) -> ttrpc::Result<Empty> {
        self.container(&request.id)?
            .resize(&request.exec_id, request.width, request.height)?;
        Ok(Empty::new())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> ttrpc::Result<Empty> {
        if request.stdin {
            self.container(&request.id)?
                .process(&request.exec_id)?
                .process()
                .close_stdin();
        }
        Ok(Empty::new())
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> ttrpc::Result<Empty> {
        let container = self.container(&request.id)?;
        detached(async move { container.update(&request.resources.value).await }).await?;
        Ok(Empty::new())
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> ttrpc::Result<StatsResponse> {
        let stats = self.container(&request.id)?.stats()?;
        Ok(StatsResponse {
            stats: Some(stats).into(),
            ..Default::default()
        })
    }

    async fn connect(
        &self,
        _: &TtrpcContext,
        request: ConnectRequest,
    ) -> ttrpc::Result<ConnectResponse> {
        // Never an error: containerd asks before it knows whether the task exists.
        let task_pid = self
            .container(&request.id)
            .map_or(0, |container| container.pid());
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            ..Default::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> ttrpc::Result<Empty> {
        self.0.shutdown_if_empty();
        Ok(Empty::new())
    }
}
