//! What the shim counts, the service that tells it (`podhook.v1.Shim`), and where it stays when the
//! shim ends.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::wrappers::BytesValue;
use containerd_shim_protos::ttrpc::r#async::{MethodHandler, Service, TtrpcContext};
use containerd_shim_protos::ttrpc::{self, Code, Request, Response, get_status};
use podhook_hooks::build::Build;
use podhook_hooks::counters::ledger::{self, Answer};
use podhook_hooks::counters::{Counters, FallbackReason, How};

/// How long an ending shim waits for a `podhook metrics` that is asking the node's shims.
const LEDGER_LIMIT: Duration = Duration::from_secs(10);

pub struct Counting {
    counters: Mutex<Counters>,
    /// The shim's name: its pid and its start, so that no other has it.
    shim: String,
    /// containerd's state directory; none where the shim was not started in a bundle.
    state: Option<PathBuf>,
}

impl Counting {
    /// Nothing counted yet. To be called in the bundle, before it can go.
    pub fn new() -> Arc<Self> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let bundle = std::env::current_dir().ok();
        Arc::new(Self {
            counters: Mutex::default(),
            shim: format!(
                "{}-{}",
                std::process::id(),
                since.unwrap_or_default().as_micros()
            ),
            state: bundle.and_then(|bundle| ledger::state_of(&bundle)),
        })
    }

    /// To count something.
    pub fn lock(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an exec whose process the OCI runtime has made, because the engine cannot for this reason.
    pub fn count_runtime_exec(&self, reason: &str) {
        self.lock().exec_by_runtime(FallbackReason::of(reason));
    }

    /// A container with a lifecycle has ended.
    pub fn terminated(&self, how: How) {
        self.lock().terminated(how);
    }

    fn answer(&self) -> Answer {
        Answer {
            shim: self.shim.clone(),
            build: Build::own(),
            counters: self.lock().clone(),
        }
    }

    /// Adds the numbers to the node's file, when the shim can no longer be asked.
    pub async fn hand_over(&self) {
        let (Some(state), false) = (&self.state, self.lock().is_empty()) else {
            return;
        };
        let handed = tokio::time::timeout(LEDGER_LIMIT, async {
            loop {
                if let Some(locked) = ledger::try_lock(state)? {
                    let mut ledger = locked.read()?;
                    ledger.hand_over(&self.answer());
                    return locked.write(&ledger);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        match handed.await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => log::warn!("the shim's counters are lost: {e}"),
            Err(_) => log::warn!("the shim's counters are lost: the node's are locked"),
        }
    }
}

/// The service: one method, `Counters`, which answers anything with JSON ([`Answer`]) in a
/// `google.protobuf.BytesValue`.
pub fn service(counting: &Arc<Counting>) -> (String, Service) {
    let method: Box<dyn MethodHandler + Send + Sync> = Box::new(Ask(Arc::clone(counting)));
    let service = Service {
        methods: HashMap::from([("Counters".to_owned(), method)]),
        streams: HashMap::new(),
    };
    ("podhook.v1.Shim".to_owned(), service)
}

struct Ask(Arc<Counting>);

#[async_trait]
impl MethodHandler for Ask {
    async fn handler(&self, _: TtrpcContext, _: Request) -> ttrpc::Result<Response> {
        let failed = |e: String| ttrpc::Error::RpcStatus(get_status(Code::INTERNAL, e));
        let answer = BytesValue {
            value: serde_json::to_vec(&self.0.answer()).map_err(|e| failed(e.to_string()))?,
            ..Default::default()
        };
        let mut response = Response::new();
        response.set_status(get_status(Code::OK, ""));
        response.payload = answer.write_to_bytes().map_err(|e| failed(e.to_string()))?;
        Ok(response)
    }
}
