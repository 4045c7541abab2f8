//! One request of the API server, and its answer.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::counters::Counters;
use crate::cmd::listen::{response, text};
use crate::manifest::review::{self, Ask, Rules};

/// etcd takes objects of 1.5 MiB, and a review may have two.
const MAX_BODY: usize = 4 << 20;
/// How many requests are read at once: so many bodies are in memory at most.
const AT_ONCE: usize = 8;
/// How long a client may take for its body.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// What answers.
#[derive(Debug)]
pub(super) struct Reviewer {
    rules: Rules,
    turns: Semaphore,
}

impl Reviewer {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            turns: Semaphore::new(AT_ONCE),
        }
    }

    pub(super) async fn answer<B>(
        &self,
        request: Request<B>,
        counters: &Counters,
    ) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (ask, path) = match request.uri().path() {
            "/mutate" => (Ask::Mutate, "/mutate"),
            "/validate" => (Ask::Validate, "/validate"),
            _ => {
                return text(
                    StatusCode::NOT_FOUND,
                    "not found: want /mutate or /validate",
                );
            }
        };
        let begun = Instant::now();
        let (response, result) = match self.reviewed(ask, request).await {
            Ok((body, result)) => (response(StatusCode::OK, "application/json", body), result),
            Err((status, why)) => (text(status, &why), "bad_request"),
        };
        counters.request(path, result, begun.elapsed());
        response
    }

    async fn reviewed<B>(
        &self,
        ask: Ask,
        request: Request<B>,
    ) -> Result<(String, &'static str), (StatusCode, String)>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.method() != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "want POST".to_owned()));
        }
        let kind = request
            .headers()
            .get(CONTENT_TYPE)
            .map(HeaderValue::as_bytes);
        if !kind.is_some_and(|kind| kind.starts_with(b"application/json")) {
            let why = "want Content-Type: application/json".to_owned();
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        let _turn = self.turns.acquire().await;
        let body = Limited::new(request.into_body(), MAX_BODY).collect();
        let bytes = match tokio::time::timeout(BODY_LIMIT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(e)) if e.is::<LengthLimitError>() => {
                let why = format!("the body has more than {MAX_BODY} bytes");
                return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
            }
            Ok(Err(e)) => return Err((StatusCode::BAD_REQUEST, e.to_string())),
            Err(_) => {
                let why = format!("no body within {} s", BODY_LIMIT.as_secs());
                return Err((StatusCode::REQUEST_TIMEOUT, why));
            }
        };
        match review::answer(ask, &bytes, &self.rules) {
            Ok(reviewed) => Ok((reviewed.body.to_string(), reviewed.outcome.name())),
            Err(e) => Err((StatusCode::BAD_REQUEST, e.to_string())),
        }
    }
}
