//! The server.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::{Method, Request, Response, StatusCode};
use podhook_hooks::config::Config;
use podhook_hooks::lifecycle::Policy;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::answer::Reviewer;
use super::counters::Counters;
use super::keys::{Keys, Look};
use crate::args::ServeWebhook;
use crate::clock;
use crate::cmd::error::Error;
use crate::cmd::interrupt::Interrupts;
use crate::cmd::listen::{self, Ending, response, text};
use crate::manifest::review::Rules;
use crate::output::escape;
use crate::output::exposition::CONTENT_TYPE;

/// An API server keeps one or two; there may be several, and others that try.
const CONNECTIONS: u32 = 256;
const HEALTH_CONNECTIONS: u32 = 16;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What all connections share.
#[derive(Debug)]
pub(super) struct Server {
    reviewer: Reviewer,
    counters: Counters,
    keys: Arc<Keys>,
}

/// Serves until a signal comes.
pub(super) async fn run(args: &ServeWebhook) -> Result<(), Error> {
    let rules = Rules {
        classes: args.runtime_class.clone(),
        policy: policy(args.config.as_deref())?,
    };
    let server = Arc::new(Server::new(rules, &args.tls_cert, &args.tls_key));
    let listener = listen::bind("--listen", &args.listen).await?;
    let health = match &args.health_listen {
        Some(address) => Some(listen::bind("--health-listen", address).await?),
        None => None,
    };
    let mut interrupts = Interrupts::new()?;
    eprintln!("serving https://{}", listener.local_addr()?);
    if let Some(health) = &health {
        eprintln!("serving http://{}/metrics", health.local_addr()?);
    }
    let (end, ending) = watch::channel(false);
    let mut looks = String::new();
    server.look(&mut looks);
    let reading = tokio::spawn(Arc::clone(&server).keep_looking(looks));
    let health =
        health.map(|health| tokio::spawn(Arc::clone(&server).health(health, ending.clone())));
    let serving = Arc::clone(&server).reviews(listener, ending)?;
    let serving = tokio::spawn(serving);
    let _: Result<(), _> = interrupts.stop(std::future::pending()).await;
    eprintln!("ending");
    let _ = end.send(true);
    let _ = serving.await;
    if let Some(health) = health {
        health.abort();
    }
    reading.abort();
    Ok(())
}

fn policy(path: Option<&Path>) -> Result<Policy, Error> {
    let Some(path) = path else {
        return Ok(Policy::default());
    };
    let config = Config::load(path).map_err(|e| Error::Refused(e.to_string()))?;
    Ok(config.policy())
}

impl Server {
    pub(super) fn new(rules: Rules, certificate: &Path, key: &Path) -> Self {
        Self {
            reviewer: Reviewer::new(rules),
            counters: Counters::default(),
            keys: Arc::new(Keys::new(certificate, key)),
        }
    }

    /// Answers the API server.
    pub(super) fn reviews(
        self: Arc<Self>,
        listener: TcpListener,
        ending: Ending,
    ) -> io::Result<impl Future<Output = ()> + Send> {
        let acceptor = acceptor(&self.keys)?;
        Ok(async move {
            let connections = ending.clone();
            listen::accept(listener, CONNECTIONS, ending, move |stream| {
                Arc::clone(&self).connection(stream, acceptor.clone(), connections.clone())
            })
            .await;
        })
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, acceptor: TlsAcceptor, ending: Ending) {
        // Who cannot do it, or does not trust the certificate, is told so by the handshake itself.
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
            return;
        };
        listen::http(stream, ending, |request| {
            let server = Arc::clone(&self);
            async move { server.reviewer.answer(request, &server.counters).await }
        })
        .await;
    }

    /// Answers probes and Prometheus.
    pub(super) async fn health(self: Arc<Self>, listener: TcpListener, ending: Ending) {
        // It goes on while requests are answered, and says that the server is to end.
        let (_never, on) = watch::channel(false);
        listen::accept(listener, HEALTH_CONNECTIONS, on.clone(), move |stream| {
            let (server, ending) = (Arc::clone(&self), ending.clone());
            listen::http(stream, on.clone(), move |request| {
                std::future::ready(server.probe(&request, *ending.borrow()))
            })
        })
        .await;
    }

    pub(super) fn probe<B: Body>(
        &self,
        request: &Request<B>,
        is_ending: bool,
    ) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD");
        }
        let pair = self.keys.pair();
        let not_ready = |why: &str| text(StatusCode::SERVICE_UNAVAILABLE, why);
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok"),
            "/readyz" if is_ending => not_ready("it is to end"),
            "/readyz" => match pair {
                None => not_ready("there is no certificate"),
                Some(pair) if pair.expires <= clock::now() => {
                    not_ready(&format!("the certificate has ended: {}", pair.expires))
                }
                Some(_) => text(StatusCode::OK, "ok"),
            },
            "/metrics" => {
                let page = self.counters.page(pair.map(|pair| pair.expires));
                response(StatusCode::OK, CONTENT_TYPE, page)
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "not found: see /healthz, /readyz, /metrics",
            ),
        }
    }

    async fn keep_looking(self: Arc<Self>, mut said: String) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look(&mut said);
        }
    }

    /// Reads the certificate if it is a new one. What is wrong is said once.
    pub(super) fn look(&self, said: &mut String) {
        let line = match self.keys.look() {
            Look::Same => return said.clear(),
            Look::New(pair) => {
                self.counters.reload("read");
                format!("the certificate is good until {}", pair.expires)
            }
            Look::Unfit(error) => {
                self.counters.reload("unfit");
                match self.keys.pair() {
                    None => format!("waiting for a certificate: {error}"),
                    Some(_) => format!("warning: the new certificate is not used: {error}"),
                }
            }
        };
        if line != *said {
            eprintln!("{}", escape::lines(&line));
            *said = line;
        }
    }
}

fn acceptor(keys: &Arc<Keys>) -> io::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(keys) as Arc<_>);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
