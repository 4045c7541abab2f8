//! The task service, v2 and v3: each RPC a few lines that call one container.
//!
//! ttrpc drops a handler's future at the client's deadline and when containerd goes away. What
//! changes something therefore runs in a task of its own ([`Request::detached`]): the handler only waits.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
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
use log::Level;
use podhook_hooks::task;
use podhook_hooks::trace::{self, TraceContext};
use tokio::sync::oneshot;

use super::sandbox;
use super::shim::Shim;
use crate::container::Container;
use crate::containerd::outstanding;
use crate::containerd::timestamp::timestamp;
use crate::counters;
use crate::error::{Error, Result};

/// The task service under both of its names, whose messages are the same, and all others.
pub fn services(shim: &Arc<Shim>) -> HashMap<String, Service> {
    let waits = Arc::new(());
    let both = ["containerd.task.v2.Task", "containerd.task.v3.Task"];
    both.into_iter()
        .flat_map(|name| {
            let service = create_task(Arc::new(TaskService {
                shim: Arc::clone(shim),
                name,
                waits: Arc::clone(&waits),
            }));
            service
                .into_values()
                .map(move |service| (name.to_owned(), service))
        })
        .chain([counters::service(&shim.deps.counters)])
        .chain([sandbox::service(shim, &waits)])
        .collect()
}

/// The most Waits at once. It is the one request that may stay without an answer for ever: without a limit, a
/// connection could have nothing but Waits outstanding, and nothing else would be read from it (see
/// [`super::outstanding`]).
pub(super) const WAITS_MAX: usize = outstanding::REQUESTS_MAX / 4 * 3;

pub(super) fn too_many_waits() -> Error {
    Error::ResourceExhausted(format!("{WAITS_MAX} Waits are outstanding already"))
}

struct TaskService {
    shim: Arc<Shim>,
    /// Under which it is asked.
    name: &'static str,
    /// The Waits that are not answered.
    waits: Arc<()>,
}

/// The request that is to be answered.
pub(super) struct Request {
    service: &'static str,
    operation: &'static str,
    id: String,
    exec_id: String,
}

impl Request {
    /// One for a container, or for the sandbox.
    pub(super) fn new(service: &'static str, operation: &'static str, id: &str) -> Self {
        Self {
            service,
            operation,
            id: id.to_owned(),
            exec_id: String::new(),
        }
    }

    /// The one place where errors become answers, and where they are logged: containerd logs few of those it gets.
    ///
    /// That something is not there is how clients find out, and is for debugging; a state that forbids the request is
    /// one that they raced with. A request that was wrong is a warning. All else has failed.
    pub(super) fn answer<T>(&self, outcome: Result<T>) -> ttrpc::Result<T> {
        outcome.map_err(|e| {
            let level = match &e {
                Error::NotFound(_) => Level::Debug,
                Error::AlreadyExists(_) | Error::Refused(_) => Level::Info,
                Error::InvalidArgument(_) | Error::FailedPrecondition(_) => Level::Warn,
                _ => Level::Error,
            };
            let (id, operation, service) = (self.id.as_str(), self.operation, self.service);
            match self.exec_id.as_str() {
                "" => log::log!(level, id = id, operation = operation, service = service; "request failed: {e}"),
                exec_id => {
                    log::log!(level, id = id, exec_id = exec_id, operation = operation, service = service; "request failed: {e}");
                }
            }
            e.into()
        })
    }

    /// Runs `work` to its end, also when the client gives the RPC up; what it starts has the trace context of the
    /// request's metadata.
    pub(super) async fn detached<T: Send + 'static>(
        self,
        metadata: &HashMap<String, Vec<String>>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> ttrpc::Result<T> {
        let (sender, answer) = oneshot::channel();
        let work = Box::pin(async move {
            let _ = sender.send(work.await);
        });
        task::spawn(traced(TraceContext::of(metadata), work));
        let outcome = answer.await;
        self.answer(
            outcome.unwrap_or_else(|e| Err(Error::failed("the request failed inside the shim")(e))),
        )
    }
}

/// The same for every request's work: see [`task::spawn`].
async fn traced(trace: TraceContext, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
    trace::scope(trace, work).await;
}

impl TaskService {
    fn container(&self, id: &str) -> Result<Arc<Container>> {
        self.shim.container(id)
    }

    /// A request for a container, or one of its execs.
    fn asked(&self, operation: &'static str, id: &str, exec_id: &str) -> Request {
        Request {
            exec_id: exec_id.to_owned(),
            ..Request::new(self.name, operation, id)
        }
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
        context: &TtrpcContext,
        request: CreateTaskRequest,
    ) -> ttrpc::Result<CreateTaskResponse> {
        let shim = Arc::clone(&self.shim);
        let asked = self.asked("Create", &request.id, "");
        let pid = asked
            .detached(&context.metadata, async move { shim.create(request).await })
            .await?;
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
        let asked = self.asked("Start", &request.id, &request.exec_id);
        let container = self.container(&request.id);
        let deadline = deadline(context);
        let work = async move {
            match request.exec_id.as_str() {
                "" => container?.start(deadline).await,
                exec_id => container?.start_exec(exec_id, deadline).await,
            }
        };
        Ok(StartResponse {
            pid: asked.detached(&context.metadata, work).await?,
            ..Default::default()
        })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
        let asked = self.asked("State", &request.id, &request.exec_id);
        let container = self.container(&request.id);
        asked.answer(container.and_then(|container| container.state(&request.exec_id)))
    }

    async fn delete(
        &self,
        context: &TtrpcContext,
        request: DeleteRequest,
    ) -> ttrpc::Result<DeleteResponse> {
        let asked = self.asked("Delete", &request.id, &request.exec_id);
        let shim = Arc::clone(&self.shim);
        let container = match request.exec_id.as_str() {
            "" => self.shim.to_delete(&request.id),
            _ => self.container(&request.id),
        };
        // Goes with this handler, when the client has gone.
        let asker = Arc::new(());
        let asked_by = Arc::downgrade(&asker);
        let work = async move {
            match request.exec_id.as_str() {
                "" => {
                    let response = shim.delete(&container?).await?;
                    if asked_by.strong_count() == 0 {
                        shim.deleted_unheard();
                    }
                    Ok(response)
                }
                exec_id => container?.delete_exec(exec_id).await,
            }
        };
        let answer = asked.detached(&context.metadata, work).await;
        drop(asker);
        answer
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> ttrpc::Result<PidsResponse> {
        let asked = self.asked("Pids", &request.id, "");
        let container = self.container(&request.id);
        Ok(PidsResponse {
            processes: asked.answer(container.and_then(|container| container.pids()))?,
            ..Default::default()
        })
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> ttrpc::Result<Empty> {
        let asked = self.asked("Exec", &request.id, &request.exec_id);
        let container = self.container(&request.id);
        asked.answer(container.and_then(|container| container.exec(request)))?;
        Ok(Empty::new())
    }

    async fn kill(&self, context: &TtrpcContext, request: KillRequest) -> ttrpc::Result<Empty> {
        let asked = self.asked("Kill", &request.id, &request.exec_id);
        let container = self.container(&request.id);
        let work = async move {
            let container = container?;
            let signal = i32::try_from(request.signal).map_err(|_| {
                Error::InvalidArgument(format!("invalid signal {}", request.signal))
            })?;
            match request.exec_id.as_str() {
                "" => container.kill(signal, request.all).await,
                exec_id => container.kill_exec(exec_id, signal, request.all).await,
            }
        };
        asked.detached(&context.metadata, work).await?;
        Ok(Empty::new())
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
        let asked = self.asked("Wait", &request.id, &request.exec_id);
        // Nothing to finish where the client goes away: waits in the handler, as small as can be.
        let waits = Arc::clone(&self.waits);
        let container = match Arc::strong_count(&waits) > WAITS_MAX {
            true => Err(too_many_waits()),
            false => self.container(&request.id),
        };
        let container = asked.answer(container)?;
        let exit = container.wait(&request.exec_id).await;
        let exit = asked.answer(exit)?;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn pause(&self, context: &TtrpcContext, request: PauseRequest) -> ttrpc::Result<Empty> {
        let asked = self.asked("Pause", &request.id, "");
        let container = self.container(&request.id);
        asked
            .detached(&context.metadata, async move { container?.pause().await })
            .await?;
        Ok(Empty::new())
    }

    async fn resume(&self, context: &TtrpcContext, request: ResumeRequest) -> ttrpc::Result<Empty> {
        let asked = self.asked("Resume", &request.id, "");
        let container = self.container(&request.id);
        asked
            .detached(&context.metadata, async move { container?.resume().await })
            .await?;
        Ok(Empty::new())
    }

    async fn checkpoint(
        &self,
        context: &TtrpcContext,
        request: CheckpointTaskRequest,
    ) -> ttrpc::Result<Empty> {
        let asked = self.asked("Checkpoint", &request.id, "");
        let container = self.container(&request.id);
        asked
            .detached(&context.metadata, async move {
                container?.checkpoint(&request).await
            })
            .await?;
        Ok(Empty::new())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: ResizePtyRequest,
    ) -> ttrpc::Result<Empty> {
        let asked = self.asked("ResizePty", &request.id, &request.exec_id);
        let (exec_id, width, height) = (&request.exec_id, request.width, request.height);
        let container = self.container(&request.id);
        asked.answer(container.and_then(|container| container.resize(exec_id, width, height)))?;
        Ok(Empty::new())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> ttrpc::Result<Empty> {
        if !request.stdin {
            return Ok(Empty::new());
        }
        let asked = self.asked("CloseIO", &request.id, &request.exec_id);
        let close = |container: Arc<Container>| {
            container.process(&request.exec_id)?.process().close_stdin();
            Ok(())
        };
        asked.answer(self.container(&request.id).and_then(close))?;
        Ok(Empty::new())
    }

    async fn update(
        &self,
        context: &TtrpcContext,
        request: UpdateTaskRequest,
    ) -> ttrpc::Result<Empty> {
        let asked = self.asked("Update", &request.id, "");
        let container = self.container(&request.id);
        let work = async move { container?.update(&request.resources.value).await };
        asked.detached(&context.metadata, work).await?;
        Ok(Empty::new())
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> ttrpc::Result<StatsResponse> {
        let asked = self.asked("Stats", &request.id, "");
        let container = self.container(&request.id);
        let stats = asked.answer(container.and_then(|container| container.stats()))?;
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
        self.shim.shutdown_if_empty();
        Ok(Empty::new())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use log::kv::{Key, Value, VisitSource};
    use log::{LevelFilter, Log, Metadata, Record};

    use super::*;

    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

    struct Recorder;

    struct Pairs(String);

    impl<'a> VisitSource<'a> for Pairs {
        fn visit_pair(&mut self, key: Key<'a>, value: Value<'a>) -> Result<(), log::kv::Error> {
            self.0 += &format!(" {key}={value}");
            Ok(())
        }
    }

    impl Log for Recorder {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            let mut pairs = Pairs(String::new());
            let _ = record.key_values().visit(&mut pairs);
            let line = format!("{}{} {}", record.level(), pairs.0, record.args());
            LINES.lock().unwrap().push(line);
        }

        fn flush(&self) {}
    }

    fn request(exec_id: &str) -> Request {
        Request {
            service: "containerd.task.v3.Task",
            operation: "Kill",
            id: "logged-container".to_owned(),
            exec_id: exec_id.to_owned(),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_request_that_fails_leaves_one_line_with_operation_service_container_and_cause() {
        log::set_logger(&Recorder).unwrap();
        log::set_max_level(LevelFilter::Debug);
        // In the words of the C library, which is not the same in every build.
        let cause = || std::io::Error::from_raw_os_error(libc::EMFILE);
        let failed = || Error::sys("pidfd_open")(cause());
        let errors: [(&str, Error); 4] = [
            ("", Error::NotFound("container not created".to_owned())),
            ("", Error::Refused("cannot pause a paused container")),
            ("e", Error::InvalidArgument("invalid signal".to_owned())),
            ("e", failed()),
        ];
        for (exec_id, error) in errors {
            let asked = request(exec_id);
            assert!(
                asked
                    .detached(&HashMap::new(), async { Err::<(), _>(error) })
                    .await
                    .is_err()
            );
        }
        let asked = request("");
        asked.answer(Ok(())).unwrap();
        let lines = LINES.lock().unwrap().clone();
        let mut lines = lines
            .iter()
            .filter(|line| line.contains("logged-container"));
        let expected = [
            "DEBUG id=logged-container operation=Kill service=containerd.task.v3.Task request failed: container not created",
            "INFO id=logged-container operation=Kill service=containerd.task.v3.Task request failed: cannot pause a paused container",
            "WARN id=logged-container exec_id=e operation=Kill service=containerd.task.v3.Task request failed: invalid signal",
            &format!(
                "ERROR id=logged-container exec_id=e operation=Kill service=containerd.task.v3.Task request failed: pidfd_open: {}",
                cause()
            ),
        ];
        for expected in expected {
            let line = lines.next().unwrap();
            assert!(line.starts_with(expected), "{line}");
        }
        assert_eq!(lines.next(), None);
    }
}
