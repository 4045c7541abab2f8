//! The Sandbox service (`containerd.runtime.sandbox.v1`): pods without a pause container. containerd calls it where the
//! runtime's configuration says `sandboxer = "shim"`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest,
    PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse, ShutdownSandboxRequest, ShutdownSandboxResponse, StartSandboxRequest,
    StartSandboxResponse, StopSandboxRequest, StopSandboxResponse, UpdateSandboxRequest,
    WaitSandboxRequest, WaitSandboxResponse,
};
use containerd_shim_protos::sandbox_async::{Sandbox as Service, create_sandbox};
use containerd_shim_protos::ttrpc::r#async::{MethodHandler, TtrpcContext};
use containerd_shim_protos::ttrpc::{self, Code, get_status};

use super::service::{Request, WAITS_MAX, too_many_waits};
use super::shim::Shim;
use crate::containerd::timestamp::timestamp;
use crate::error::{Error, Result};
use crate::host::bundle;
use crate::sandbox::Sandbox;

const NAME: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// The service; `waits` are the requests of any service that may stay without an answer.
pub fn service(shim: &Arc<Shim>, waits: &Arc<()>) -> (String, ttrpc::r#async::Service) {
    let served = Arc::new(SandboxService {
        shim: Arc::clone(shim),
        waits: Arc::clone(waits),
    });
    let made = create_sandbox(Arc::clone(&served) as _);
    let mut service = made
        .into_values()
        .next()
        .unwrap_or(ttrpc::r#async::Service {
            methods: HashMap::new(),
            streams: HashMap::new(),
        });
    // Newer than the crate.
    let update: Box<dyn MethodHandler + Send + Sync> = Box::new(Update(served));
    service.methods.insert("UpdateSandbox".to_owned(), update);
    (NAME.to_owned(), service)
}

struct SandboxService {
    shim: Arc<Shim>,
    waits: Arc<()>,
}

impl SandboxService {
    fn asked(operation: &'static str, id: &str) -> Request {
        Request::new(NAME, operation, id)
    }

    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        self.shim.sandbox(id)
    }
}

#[async_trait]
impl Service for SandboxService {
    async fn create_sandbox(
        &self,
        context: &TtrpcContext,
        request: CreateSandboxRequest,
    ) -> ttrpc::Result<CreateSandboxResponse> {
        let shim = Arc::clone(&self.shim);
        let asked = Self::asked("CreateSandbox", &request.sandbox_id);
        let work = async move {
            let id = &request.sandbox_id;
            if id.is_empty() || !bundle::is_plain(id) {
                return Err(Error::InvalidArgument(format!("invalid sandbox id {id:?}")));
            }
            let bundle = Path::new(&request.bundle_path);
            let (options, network) = (request.options.as_ref(), &request.netns_path);
            shim.create_sandbox(id, bundle, options, network).await
        };
        asked.detached(&context.metadata, work).await?;
        Ok(CreateSandboxResponse::new())
    }

    async fn start_sandbox(
        &self,
        context: &TtrpcContext,
        request: StartSandboxRequest,
    ) -> ttrpc::Result<StartSandboxResponse> {
        let asked = Self::asked("StartSandbox", &request.sandbox_id);
        let sandbox = self.sandbox(&request.sandbox_id);
        let deps = Arc::clone(&self.shim.deps);
        let work = async move {
            let sandbox = sandbox?;
            let (pid, spec) = sandbox.start(&deps).await?;
            Ok((pid, spec, sandbox.status().created_at))
        };
        let (pid, spec, created_at) = asked.detached(&context.metadata, work).await?;
        Ok(StartSandboxResponse {
            pid,
            created_at: Some(timestamp(created_at)).into(),
            spec: Some(spec).into(),
            ..Default::default()
        })
    }

    async fn platform(
        &self,
        _: &TtrpcContext,
        request: PlatformRequest,
    ) -> ttrpc::Result<PlatformResponse> {
        let asked = Self::asked("Platform", &request.sandbox_id);
        asked.answer(self.sandbox(&request.sandbox_id))?;
        let mut response = PlatformResponse::new();
        let platform = response.platform.mut_or_insert_default();
        platform.os = "linux".to_owned();
        // As Go names them.
        platform.architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
        .to_owned();
        Ok(response)
    }

    async fn stop_sandbox(
        &self,
        context: &TtrpcContext,
        request: StopSandboxRequest,
    ) -> ttrpc::Result<StopSandboxResponse> {
        let asked = Self::asked("StopSandbox", &request.sandbox_id);
        let sandbox = self.sandbox(&request.sandbox_id);
        let work = async move { sandbox?.stop().await };
        asked.detached(&context.metadata, work).await?;
        Ok(StopSandboxResponse::new())
    }

    async fn wait_sandbox(
        &self,
        _: &TtrpcContext,
        request: WaitSandboxRequest,
    ) -> ttrpc::Result<WaitSandboxResponse> {
        let asked = Self::asked("WaitSandbox", &request.sandbox_id);
        // Nothing to finish where the client goes away: waits in the handler.
        let waits = Arc::clone(&self.waits);
        let sandbox = match Arc::strong_count(&waits) > WAITS_MAX {
            true => Err(too_many_waits()),
            false => self.sandbox(&request.sandbox_id),
        };
        let exit = asked.answer(sandbox)?.wait().await;
        Ok(WaitSandboxResponse {
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        request: SandboxStatusRequest,
    ) -> ttrpc::Result<SandboxStatusResponse> {
        let asked = Self::asked("SandboxStatus", &request.sandbox_id);
        let sandbox = asked.answer(self.sandbox(&request.sandbox_id))?;
        let status = sandbox.status();
        let mut info = HashMap::new();
        if request.verbose {
            info.insert("info".to_owned(), sandbox.info());
        }
        Ok(SandboxStatusResponse {
            sandbox_id: request.sandbox_id,
            pid: status.pid,
            state: status.state.to_owned(),
            info,
            created_at: Some(timestamp(status.created_at)).into(),
            exited_at: status.exit.map(|exit| timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    async fn ping_sandbox(
        &self,
        _: &TtrpcContext,
        request: PingRequest,
    ) -> ttrpc::Result<PingResponse> {
        let asked = Self::asked("PingSandbox", &request.sandbox_id);
        asked.answer(self.sandbox(&request.sandbox_id))?;
        Ok(PingResponse::new())
    }

    async fn shutdown_sandbox(
        &self,
        context: &TtrpcContext,
        request: ShutdownSandboxRequest,
    ) -> ttrpc::Result<ShutdownSandboxResponse> {
        let asked = Self::asked("ShutdownSandbox", &request.sandbox_id);
        let shim = Arc::clone(&self.shim);
        let work = async move { shim.shutdown_sandbox(&request.sandbox_id).await };
        asked.detached(&context.metadata, work).await?;
        Ok(ShutdownSandboxResponse::new())
    }

    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        request: SandboxMetricsRequest,
    ) -> ttrpc::Result<SandboxMetricsResponse> {
        let asked = Self::asked("SandboxMetrics", &request.sandbox_id);
        let sandbox = self.sandbox(&request.sandbox_id);
        let data = asked.answer(sandbox.and_then(|sandbox| sandbox.metrics()))?;
        let mut response = SandboxMetricsResponse::new();
        let metrics = response.metrics.mut_or_insert_default();
        metrics.timestamp = Some(timestamp(SystemTime::now())).into();
        metrics.id = request.sandbox_id;
        metrics.data = Some(data).into();
        Ok(response)
    }
}

/// `UpdateSandbox`, which containerd 2.4 has: a change of the pod's resources. The kubelet writes the limits to the pod's
/// cgroup itself, and nothing of them is the holder's.
struct Update(Arc<SandboxService>);

#[async_trait]
impl MethodHandler for Update {
    async fn handler(
        &self,
        _: TtrpcContext,
        request: ttrpc::Request,
    ) -> ttrpc::Result<ttrpc::Response> {
        let asked = SandboxService::asked("UpdateSandbox", "");
        // The id is the first field of every version of the message.
        let parsed = UpdateSandboxRequest::parse_from_bytes(&request.payload)
            .map_err(|e| Error::InvalidArgument(format!("UpdateSandbox: {e}")));
        let found = parsed.and_then(|update| self.0.sandbox(&update.sandbox_id));
        let mut response = ttrpc::Response::new();
        response.set_status(match asked.answer(found) {
            Ok(_) => get_status(Code::OK, ""),
            Err(ttrpc::Error::RpcStatus(status)) => status,
            Err(e) => return Err(e),
        });
        Ok(response)
    }
}
