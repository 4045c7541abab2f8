//! A request with all it takes: redirects, and plain HTTP where the server speaks no TLS.

use std::fmt;

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap};

use super::Statuses;
use super::dial::dial;
use super::error::NetError;
use super::exchange::{Reply, exchange};
use super::headers;
use super::host;
use super::stream::Stream;
use super::tls;
use super::url::{Redirect, Url};
use super::{HttpGet, Network};
use crate::lifecycle::Scheme;

/// Followed at most.
const MAX_REDIRECTS: usize = 10;

/// The response a request ended with.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    info: RequestInfo,
}

/// A request that ended without a response to judge.
#[derive(Debug)]
pub(super) struct RequestError {
    info: RequestInfo,
    error: NetError,
}

/// What was info, for messages.
#[derive(Debug)]
struct RequestInfo {
    url: Url,
    /// Where redirects led in the end.
    redirected: Option<Url>,
    /// Whether an HTTPS request was answered in plain HTTP before.
    fell_back: bool,
}

impl Answer {
    /// Whether its status is a success.
    pub(super) fn verdict(&self, success: Statuses) -> Result<(), String> {
        let code = self.status.as_u16();
        if success.contain(code) {
            return Ok(());
        }
        // Not the server's own reason phrase: it is anybody's text.
        let reason = self.status.canonical_reason().unwrap_or_default();
        let status = format!("HTTP status {code} {reason}");
        Err(format!("{}: {}", self.info, status.trim_end()))
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.info, self.error)
    }
}

impl fmt::Display for RequestInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GET {}", self.url)?;
        if self.fell_back {
            f.write_str(", after HTTPS was answered in plain HTTP")?;
        }
        match &self.redirected {
            Some(url) => write!(f, ": redirected to {url}"),
            None => Ok(()),
        }
    }
}

/// Sends the request; a second time in plain HTTP where an HTTPS request was answered in it.
pub(super) async fn get(
    network: Network<'_>,
    request: &HttpGet<'_>,
) -> Result<Answer, RequestError> {
    let others = match headers::build(request.headers) {
        Ok(others) => others,
        Err(error) => {
            let info = RequestInfo::new(request, request.scheme, false);
            return Err(RequestError { info, error });
        }
    };
    let info = RequestInfo::new(request, request.scheme, false);
    match follow(network, request, &others, info).await {
        Err(RequestError {
            error: NetError::PlainHttp,
            info: RequestInfo {
                redirected: None, ..
            },
        }) => {
            log::warn!("httpGet: an HTTPS request got an HTTP response, retrying with HTTP");
            let mut others = others;
            others.remove(AUTHORIZATION);
            let info = RequestInfo::new(request, Scheme::Http, true);
            follow(network, request, &others, info).await
        }
        answered => answered,
    }
}

impl RequestInfo {
    fn new(request: &HttpGet<'_>, scheme: Scheme, fell_back: bool) -> RequestInfo {
        RequestInfo {
            url: Url::new(scheme, request.host, request.port, request.path),
            redirected: None,
            fell_back,
        }
    }
}

/// Sends the request and follows its redirects.
async fn follow(
    network: Network<'_>,
    request: &HttpGet<'_>,
    others: &HeaderMap,
    mut info: RequestInfo,
) -> Result<Answer, RequestError> {
    let mut host = headers::host(request.headers);
    let mut redirects = 0;
    let error = loop {
        let url = info.redirected.as_mut().unwrap_or(&mut info.url);
        let reply = match send(network, url, host, others).await {
            Ok(reply) => reply,
            Err(error) => break error,
        };
        let next = match reply.location.as_deref() {
            // Without a location it is a response as any other, as in Go.
            None | Some("") => None,
            Some(location) => match url.redirect(location) {
                Ok(Redirect::Elsewhere) => None,
                Ok(Redirect::Same { url, named }) => Some((url, named)),
                Err(error) => break error,
            },
        };
        let Some((url, named)) = next else {
            let Reply { status, body, .. } = reply;
            return Ok(Answer { status, body, info });
        };
        if redirects == MAX_REDIRECTS {
            break NetError::Redirects(MAX_REDIRECTS);
        }
        redirects = redirects.saturating_add(1);
        info.redirected = Some(url);
        if named {
            host = None;
        }
    };
    Err(RequestError { info, error })
}

/// One request. Fills in the URL's host where it has none.
async fn send(
    network: Network<'_>,
    url: &mut Url,
    given_host: Option<&str>,
    others: &HeaderMap,
) -> Result<Reply, NetError> {
    let to = host::parse(Some(&url.host))?;
    let dialled = match dial(network, &to, url.port).await {
        Ok(dialled) => dialled,
        Err(error) => {
            if let Some(address) = error.address() {
                url.settle(address.ip());
            }
            return Err(error);
        }
    };
    let ip = dialled.address.ip();
    url.settle(ip);
    let headers = headers::with_host(given_host.unwrap_or(&url.authority), others)?;
    let stream = match url.scheme {
        Scheme::Http => Stream::Plain(dialled.stream),
        Scheme::Https => Stream::Tls(Box::new(tls::handshake(dialled.stream, &to, ip).await?)),
    };
    exchange(stream, &url.target, headers).await
}
