//! `--answer`: what `kubectl podhook ps` and `inspect` ask, for pods that who asks may get.
//!
//! `GET /challenge`, then on the same connection `POST /hooks` with a [`Question`] that is signed with that challenge
//! ([`proof`]). A challenge is good once.

mod caller;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::{Method, Request, Response, StatusCode};
use podhook_hooks::record::Record;
use ring::rand::{SecureRandom, SystemRandom};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Agent;
use crate::cluster::question::{Asked, Question};
use crate::cluster::{Api, proof};
use crate::cmd::error::Error;
use crate::cmd::listen::{self, response, text};
use crate::node::journal;
use crate::node::query::{Query, Reports};
use crate::output::escape;
use caller::Caller;

const CONNECTIONS: u32 = 16;
const MAX_QUESTION: usize = 16 * 1024;
/// What a kubelet makes is there.
const KUBERNETES: &str = "k8s.io";

/// What an answer needs.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) agent: Arc<Agent>,
    pub(super) api: Api,
    pub(super) journal: PathBuf,
}

/// Listens where nobody but the pod itself, and kubectl port-forward, can connect.
pub(super) async fn bind(address: &str) -> Result<TcpListener, Error> {
    let listener = listen::bind("--answer", address).await?;
    match listener.local_addr()?.ip().is_loopback() {
        true => Ok(listener),
        false => Err(Error::Refused(format!(
            "--answer {address}: not a loopback address (want 127.0.0.1:PORT, which kubectl port-forward reaches)"
        ))),
    }
}

/// Answers until it is dropped.
pub(super) async fn run(desk: Arc<Desk>, listener: TcpListener) {
    let (_never, on) = watch::channel(false);
    listen::accept(listener, CONNECTIONS, on.clone(), move |stream| {
        let desk = Arc::clone(&desk);
        let challenge = Arc::new(Challenge::default());
        listen::http(stream, on.clone(), move |request| {
            let (desk, challenge) = (Arc::clone(&desk), Arc::clone(&challenge));
            async move { desk.answer(&challenge, request).await }
        })
    })
    .await;
}

/// That of a connection.
#[derive(Debug, Default)]
struct Challenge(Mutex<Option<String>>);

impl Challenge {
    fn make(&self) -> Option<String> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let made = Some(STANDARD.encode(bytes));
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&made);
        made
    }

    fn take(&self) -> Option<String> {
        let mut challenge = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        challenge.take()
    }
}

/// Why there is no answer.
type Refusal = (StatusCode, String);

impl Desk {
    async fn answer<B>(&self, challenge: &Challenge, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answer = match (request.method(), request.uri().path()) {
            (&Method::GET, "/challenge") => match challenge.make() {
                Some(challenge) => Ok(json!({"node": self.agent.name, "challenge": challenge})),
                None => Err(unavailable("the kernel gives no random bytes")),
            },
            (&Method::POST, "/hooks") => self.hooks(challenge, request.into_body()).await,
            _ => Err((
                StatusCode::NOT_FOUND,
                "not found: see /challenge, /hooks".to_owned(),
            )),
        };
        match answer {
            Ok(answer) => response(StatusCode::OK, "application/json", answer.to_string()),
            Err((status, why)) => text(status, &why),
        }
    }

    async fn hooks<B>(&self, challenge: &Challenge, body: B) -> Result<Value, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let body = Limited::new(body, MAX_QUESTION).collect().await;
        let body = body.map_err(|e| (StatusCode::BAD_REQUEST, e.to_string()))?;
        let asked: Asked = read(&body.to_bytes())?;
        let question: Question = read(asked.question.as_bytes())?;
        let unknown = |why: &str| (StatusCode::UNAUTHORIZED, why.to_owned());
        let challenge = challenge
            .take()
            .ok_or_else(|| unknown("no challenge was asked for on this connection"))?;
        let signed = (&*self.agent.name, &*challenge, &*asked.question);
        let request = proof::verified(&asked.key, &asked.proof, signed)
            .ok_or_else(|| unknown("that is not the key's signature"))?;
        let caller = Caller::of(&self.api, &request).await;
        let mut caller = caller.map_err(unavailable)?.ok_or_else(|| {
            unknown(&format!(
                "the API server has no new CertificateSigningRequest {request}"
            ))
        })?;
        let found = self.find(&question).map_err(unavailable)?;
        let all = found.len();
        let mut items = Vec::new();
        for (record, json) in found {
            let (Some(namespace), Some(pod)) = of(&record) else {
                continue;
            };
            if caller.may_get(namespace, pod).await.map_err(unavailable)? {
                items.push(json);
            }
        }
        let said = format!(
            "answered {}: {} of {all} containers",
            caller.name(),
            items.len()
        );
        eprintln!("{}", escape::visible(&said));
        Ok(json!({"items": items}))
    }

    /// What is recorded of the containers that the question is about, whoever may see it.
    fn find(&self, question: &Question) -> Result<Vec<(Record, Value)>, Error> {
        let wanted = |namespace: &str, record: &Record| {
            namespace == KUBERNETES && question.is_about(of(record))
        };
        let kept = match question.all {
            true => journal::kept(&self.journal, wanted, drop)?,
            false => Vec::new(),
        };
        let query = Query {
            state: self.agent.node.state.clone(),
            namespace: None,
        };
        let mut live = query.find(&mut Reports::quiet())?;
        live.retain(|one| wanted(&one.bundle.namespace, &one.record));
        let ended = journal::ended(kept, &live).into_iter();
        let ended = ended.map(|run| (run.record, run.json));
        Ok(ended
            .chain(live.into_iter().map(|live| (live.record, live.json)))
            .collect())
    }
}

/// A container's pod: its namespace and name.
fn of(record: &Record) -> (Option<&str>, Option<&str>) {
    let namespace = record.pod.as_ref().and_then(|pod| pod.namespace.as_deref());
    (namespace, record.pod_name())
}

fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(text).map_err(|e| (StatusCode::BAD_REQUEST, e.to_string()))
}

fn unavailable(why: impl ToString) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, why.to_string())
}
