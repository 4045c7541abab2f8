//! The task service of one shim, as containerd calls it.

use std::collections::HashMap;
use std::time::Duration;

use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
    Mount, PauseRequest, PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest,
    ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest,
    StatsResponse, UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use podhook_integration::ctr::pause_when_busy;
use podhook_integration::protocol::connection::Connection;
use podhook_integration::wait::scaled;
use serde_json::json;
use ttrpc::{Code, Status};

use crate::runtime;
use crate::stage::{Failure, Stage};

/// An answer that is an error.
#[derive(Debug, PartialEq)]
pub struct Refused {
    pub code: Code,
    pub message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

pub type Answer<T> = Result<T, Refused>;

/// A connection to a shim.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
    service: String,
    address: String,
    /// What goes along with each request.
    metadata: HashMap<String, Vec<String>>,
}

/// No answer takes longer on a busy machine, but that of Wait.
const LIMIT: Duration = Duration::from_secs(60);

impl Client {
    pub fn connect(address: &str, version: i64) -> Result<Self, Failure> {
        Self::of(&format!("containerd.task.v{version}.Task"), address)
    }

    /// A client of any service.
    pub fn of(service: &str, address: &str) -> Result<Self, Failure> {
        Ok(Self {
            connection: Connection::to(address)?,
            service: service.to_owned(),
            address: address.to_owned(),
            metadata: HashMap::new(),
        })
    }

    /// `unix://…`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Another connection to the same shim.
    pub fn again(&self) -> Result<Self, Failure> {
        Ok(Self {
            connection: Connection::to(&self.address)?,
            ..self.clone()
        })
    }

    /// The same connection with metadata for each request.
    pub fn traced(&self, metadata: &[(&str, &str)]) -> Self {
        let metadata = metadata.iter();
        Self {
            metadata: metadata
                .map(|&(name, value)| (name.to_owned(), vec![value.to_owned()]))
                .collect(),
            ..self.clone()
        }
    }

    pub fn call<A: Message>(&self, method: &str, request: &impl Message) -> Answer<A> {
        runtime().block_on(self.call_within(method, request, scaled(LIMIT)))
    }

    /// With a deadline that the shim is told as well.
    pub fn call_with_deadline<A: Message>(
        &self,
        method: &str,
        request: &impl Message,
        deadline: Duration,
    ) -> Answer<A> {
        runtime().block_on(self.request(method, request, LIMIT.max(deadline), deadline))
    }

    /// Without waiting for it: to be run on [`runtime`].
    pub async fn call_within<A: Message>(
        &self,
        method: &str,
        request: &impl Message,
        limit: Duration,
    ) -> Answer<A> {
        self.request(method, request, limit, Duration::ZERO).await
    }

    async fn request<A: Message>(
        &self,
        method: &str,
        request: &impl Message,
        limit: Duration,
        deadline: Duration,
    ) -> Answer<A> {
        let unknown = |message: String| Refused {
            code: Code::INTERNAL,
            message,
        };
        let request = ttrpc::Request {
            service: self.service.clone(),
            method: method.to_owned(),
            timeout_nano: i64::try_from(deadline.as_nanos()).unwrap_or_default(),
            metadata: ttrpc::context::to_pb(self.metadata.clone()),
            payload: request
                .write_to_bytes()
                .map_err(|e| unknown(e.to_string()))?,
            ..Default::default()
        };
        let answer = tokio::time::timeout(limit, self.connection.request(request));
        match answer.await {
            Err(_) => Err(unknown(format!("{method}: no answer within {limit:?}"))),
            Ok(Err(ttrpc::Error::RpcStatus(Status { code, message, .. }))) => Err(Refused {
                code: code.enum_value().unwrap_or(Code::UNKNOWN),
                message,
            }),
            Ok(Err(e)) => Err(unknown(format!("{method}: {e}"))),
            Ok(Ok(answer)) => {
                A::parse_from_bytes(&answer.payload).map_err(|e| unknown(e.to_string()))
            }
        }
    }

    /// Create on busybox, with no stdio.
    pub fn create(&self, stage: &Stage, id: &str) -> Answer<CreateTaskResponse> {
        self.call("Create", &create_request(stage, id))
    }

    /// The same, with these runtime options.
    pub fn create_with(
        &self,
        stage: &Stage,
        id: &str,
        options: &Any,
    ) -> Answer<CreateTaskResponse> {
        let request = CreateTaskRequest {
            options: Some(options.clone()).into(),
            ..create_request(stage, id)
        };
        self.call("Create", &request)
    }

    /// Create and Start; the pid.
    pub fn run(&self, stage: &Stage, id: &str) -> Answer<u32> {
        self.create(stage, id)?;
        Ok(self.start(id, "")?.pid)
    }

    pub fn start(&self, id: &str, exec_id: &str) -> Answer<StartResponse> {
        self.call(
            "Start",
            &StartRequest {
                id: id.into(),
                exec_id: exec_id.into(),
                ..Default::default()
            },
        )
    }

    pub fn state(&self, id: &str, exec_id: &str) -> Answer<StateResponse> {
        self.call(
            "State",
            &StateRequest {
                id: id.into(),
                exec_id: exec_id.into(),
                ..Default::default()
            },
        )
    }

    pub fn kill(&self, id: &str, exec_id: &str, signal: u32, all: bool) -> Answer<Empty> {
        let request = KillRequest {
            id: id.into(),
            exec_id: exec_id.into(),
            signal,
            all,
            ..Default::default()
        };
        self.call("Kill", &request)
    }

    pub fn wait(&self, id: &str, exec_id: &str) -> Answer<WaitResponse> {
        self.call("Wait", &wait_request(id, exec_id))
    }

    pub fn delete(&self, id: &str, exec_id: &str) -> Answer<DeleteResponse> {
        self.call(
            "Delete",
            &DeleteRequest {
                id: id.into(),
                exec_id: exec_id.into(),
                ..Default::default()
            },
        )
    }

    /// SIGKILL, Wait, Delete.
    pub fn remove(&self, id: &str) -> Answer<DeleteResponse> {
        let _ = self.kill(id, "", 9, false);
        self.wait(id, "")?;
        self.delete(id, "")
    }

    /// The same, and Shutdown.
    pub fn end(&self, id: &str) -> Answer<()> {
        self.remove(id)?;
        self.shutdown(id);
        Ok(())
    }

    /// The shim may end before its answer is out.
    pub fn shutdown(&self, id: &str) {
        let _ = self.call::<Empty>(
            "Shutdown",
            &ShutdownRequest {
                id: id.into(),
                ..Default::default()
            },
        );
    }

    pub fn pids(&self, id: &str) -> Answer<PidsResponse> {
        self.call(
            "Pids",
            &PidsRequest {
                id: id.into(),
                ..Default::default()
            },
        )
    }

    /// As [`pause_when_busy`] asks.
    pub fn pause(&self, id: &str) -> Answer<Empty> {
        let request = PauseRequest {
            id: id.into(),
            ..Default::default()
        };
        pause_when_busy(
            || self.call("Pause", &request),
            |answer| answer.as_ref().err().map(|e| e.message.as_str()),
        )
    }

    pub fn resume(&self, id: &str) -> Answer<Empty> {
        self.call(
            "Resume",
            &ResumeRequest {
                id: id.into(),
                ..Default::default()
            },
        )
    }

    pub fn checkpoint(&self, id: &str, path: &str, options: Option<Any>) -> Answer<Empty> {
        let request = CheckpointTaskRequest {
            id: id.into(),
            path: path.into(),
            options: options.into(),
            ..Default::default()
        };
        self.call("Checkpoint", &request)
    }

    pub fn update(&self, id: &str, resources: &serde_json::Value) -> Answer<Empty> {
        let any = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
            value: resources.to_string().into_bytes(),
            ..Any::default()
        };
        self.call(
            "Update",
            &UpdateTaskRequest {
                id: id.into(),
                resources: Some(any).into(),
                ..Default::default()
            },
        )
    }

    pub fn stats(&self, id: &str) -> Answer<StatsResponse> {
        self.call(
            "Stats",
            &StatsRequest {
                id: id.into(),
                ..Default::default()
            },
        )
    }

    pub fn connect_rpc(&self, id: &str) -> Answer<ConnectResponse> {
        self.call(
            "Connect",
            &ConnectRequest {
                id: id.into(),
                ..Default::default()
            },
        )
    }

    pub fn resize(&self, id: &str, exec_id: &str, width: u32, height: u32) -> Answer<Empty> {
        let request = ResizePtyRequest {
            id: id.into(),
            exec_id: exec_id.into(),
            width,
            height,
            ..Default::default()
        };
        self.call("ResizePty", &request)
    }

    pub fn close_stdin(&self, id: &str, exec_id: &str) -> Answer<Empty> {
        let request = CloseIORequest {
            id: id.into(),
            exec_id: exec_id.into(),
            stdin: true,
            ..Default::default()
        };
        self.call("CloseIO", &request)
    }

    pub fn exec(&self, id: &str, exec_id: &str, args: &[&str]) -> Answer<Empty> {
        self.call("Exec", &exec_request(id, exec_id, args))
    }
}

/// Create of container `id` of the stage, on busybox, with no stdio.
pub fn create_request(stage: &Stage, id: &str) -> CreateTaskRequest {
    CreateTaskRequest {
        id: id.into(),
        bundle: stage.bundle(id).display().to_string(),
        rootfs: vec![Mount {
            type_: "bind".into(),
            source: stage.rootfs().display().to_string(),
            options: vec!["rbind".into(), "rw".into()],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn wait_request(id: &str, exec_id: &str) -> WaitRequest {
    WaitRequest {
        id: id.into(),
        exec_id: exec_id.into(),
        ..Default::default()
    }
}

/// Exec of `args`, with no stdio.
pub fn exec_request(id: &str, exec_id: &str, args: &[&str]) -> ExecProcessRequest {
    let process = json!({
        "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
    });
    let spec = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
        value: process.to_string().into_bytes(),
        ..Any::default()
    };
    ExecProcessRequest {
        id: id.into(),
        exec_id: exec_id.into(),
        spec: Some(spec).into(),
        ..Default::default()
    }
}
