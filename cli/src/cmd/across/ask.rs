//! Asks an agent: by kubectl port-forward, whose way is the API server's and the kubelet's, each with TLS.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

use super::agents::Agent;
use super::kubectl::Kubectl;
use crate::cluster::proof::Key;
use crate::cluster::question::{Asked, PORT};
use crate::cmd::error::Error;

/// For kubectl to be connected, and for each answer.
const LIMIT: Duration = Duration::from_secs(20);
/// More than a node's journal and records have.
const MAX_ANSWER: usize = 64 << 20;
const FORWARDING: &str = "Forwarding from 127.0.0.1:";

/// The records that an agent tells of.
///
/// # Errors
/// Without its node's name.
pub(super) async fn ask(
    kubectl: &Kubectl,
    key: &Key,
    agent: &Agent,
    question: &str,
) -> Result<Vec<Value>, Error> {
    let mut forward = Forward::start(kubectl, agent).await?;
    let answer = async {
        let stream = TcpStream::connect(("127.0.0.1", forward.port)).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let there = exchange(&mut sender, Method::GET, "/challenge", String::new()).await?;
        let challenge = there.get("challenge").and_then(Value::as_str);
        let challenge = challenge.unwrap_or_default();
        // The node that is meant, whatever this one says.
        let asked = Asked {
            key: key.public(),
            proof: key.sign(&agent.node, challenge, question)?,
            question: question.to_owned(),
        };
        let asked = serde_json::to_string(&asked)?;
        exchange(&mut sender, Method::POST, "/hooks", asked).await
    };
    match tokio::time::timeout(LIMIT, answer).await {
        Ok(Ok(answer)) => {
            let items = answer.get("items").and_then(Value::as_array);
            Ok(items.cloned().unwrap_or_default())
        }
        Ok(Err(e)) => Err(forward.failed(agent, &e.to_string()).await),
        Err(_) => {
            let late = format!("no answer within {} s", LIMIT.as_secs());
            Err(forward.failed(agent, &late).await)
        }
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    method: Method,
    path: &str,
    body: String,
) -> Result<Value, Failed> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "podhook-agent")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER);
    let body = body.collect().await?.to_bytes();
    match status.is_success() {
        true => Ok(serde_json::from_slice(&body)?),
        false => Err(String::from_utf8_lossy(&body).trim().into()),
    }
}

/// A kubectl that forwards a port of this machine.
struct Forward {
    child: Child,
    port: u16,
}

impl Forward {
    async fn start(kubectl: &Kubectl, agent: &Agent) -> Result<Self, Error> {
        let words = [
            "port-forward",
            "--address=127.0.0.1",
            "--namespace",
            &agent.namespace,
            &format!("pod/{}", agent.pod),
            &format!(":{PORT}"),
        ];
        let child = kubectl.command(&words).spawn();
        let mut child = child.map_err(|e| kubectl.not_run(&e))?;
        let first = async {
            let mut line = String::new();
            let stdout = child.stdout.as_mut()?;
            BufReader::new(stdout).read_line(&mut line).await.ok()?;
            let (port, _) = line.strip_prefix(FORWARDING)?.split_once(' ')?;
            port.parse().ok()
        };
        let port = tokio::time::timeout(LIMIT, first).await.ok().flatten();
        let mut this = Self {
            child,
            port: port.unwrap_or_default(),
        };
        match port {
            Some(_) => Ok(this),
            None => Err(this.failed(agent, "kubectl port-forward fails").await),
        }
    }

    /// What went wrong, with what kubectl has said of it.
    async fn failed(&mut self, agent: &Agent, why: &str) -> Error {
        let _ = self.child.start_kill();
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.read_to_string(&mut said).await;
        }
        let why = match said.lines().map(str::trim).rfind(|line| !line.is_empty()) {
            Some(line) => format!("{why}: {line}"),
            None => why.to_owned(),
        };
        let hint = match why.contains("orbidden") {
            true => super::RIGHTS.to_owned(),
            false => format!("kubectl -n {} logs {}", agent.namespace, agent.pod),
        };
        Error::Refused(format!(
            "the agent on node {}: {why}\n  hint: {hint}",
            agent.node
        ))
    }
}
