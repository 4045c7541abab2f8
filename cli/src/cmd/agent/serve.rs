//! `--listen`: the page for Prometheus, and whether the agent lives.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Agent;
use crate::cmd::listen::{self, response, text};
use crate::node::metrics;

const CONNECTIONS: u32 = 16;

/// Serves until it is dropped.
pub(super) async fn run(agent: Arc<Agent>, listener: TcpListener) {
    let (_never, on) = watch::channel(false);
    listen::accept(listener, CONNECTIONS, on.clone(), move |stream| {
        let agent = Arc::clone(&agent);
        listen::http(stream, on.clone(), move |request| {
            let agent = Arc::clone(&agent);
            async move { answer(&agent, &request).await }
        })
    })
    .await;
}

pub(super) async fn answer<B: Body>(agent: &Agent, request: &Request<B>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok"),
        "/metrics" => match agent.node.scrape().await {
            Ok(scrape) => {
                let page = metrics::text(&scrape) + &agent.state().page();
                response(StatusCode::OK, metrics::CONTENT_TYPE, page)
            }
            Err(e) => {
                eprintln!("error: {e}");
                text(StatusCode::SERVICE_UNAVAILABLE, &e.to_string())
            }
        },
        _ => text(StatusCode::NOT_FOUND, "not found: see /healthz, /metrics"),
    }
}
