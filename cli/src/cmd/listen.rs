//! Connections of a server: so many at once and no more, and an end that lets requests be answered.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::cmd::error::Error;

/// After a failed accept: too many open files do not go away by trying at once.
const PAUSE: Duration = Duration::from_millis(100);
/// How long requests may go on when the server is to end.
const DRAIN: Duration = Duration::from_secs(10);
/// For a request's head, and how long a connection may be idle: longer than the API server keeps it (90 s).
const IDLE: Duration = Duration::from_secs(120);
const PLAIN: &str = "text/plain; charset=utf-8";

/// Whether the server is to end.
pub(crate) type Ending = watch::Receiver<bool>;

async fn end(ending: &mut Ending) {
    let _ = ending.wait_for(|ending| *ending).await;
}

/// Listens. Without an address that is on all, those of IPv6 too where there are any.
pub(crate) async fn bind(flag: &str, address: &str) -> Result<TcpListener, Error> {
    let port = address.strip_prefix(':').map(str::parse::<u16>);
    let bound = match port {
        Some(Ok(port)) => {
            let all: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
            TcpListener::bind(&all.map(|one| SocketAddr::from((one, port)))[..]).await
        }
        _ => TcpListener::bind(address).await,
    };
    bound.map_err(|e| Error::Refused(format!("{flag} {address}: {e} (want [ADDRESS]:PORT)")))
}

/// The same for `--listen` of what has neither TLS nor authentication.
pub(crate) async fn bind_local(address: &str, allow_remote: bool) -> Result<TcpListener, Error> {
    let refused = |reason: String| Error::Refused(format!("--listen {address}: {reason}"));
    let addresses: Vec<_> = tokio::net::lookup_host(address)
        .await
        .map_err(|e| refused(format!("{e} (want ADDRESS:PORT)")))?
        .collect();
    if !allow_remote && addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err(refused(
            "not a loopback address; anybody may read the metrics there. --allow-remote allows it"
                .to_owned(),
        ));
    }
    TcpListener::bind(&*addresses)
        .await
        .map_err(|e| refused(e.to_string()))
}

/// Takes connections until the end comes, and returns when they are over, or [`DRAIN`] is.
pub(crate) async fn accept<F, W>(
    listener: TcpListener,
    most: u32,
    mut ending: Ending,
    connection: F,
) where
    F: Fn(TcpStream) -> W,
    W: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(usize::MAX)));
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            () = end(&mut ending) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let served = connection(stream);
                tokio::spawn(async move {
                    served.await;
                    drop(slot);
                });
            }
            Err(e) => {
                eprintln!("warning: accept: {e}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, slots.acquire_many(most)).await;
}

/// Answers the requests of a connection. When the server is to end, the one that is there is the last.
pub(crate) async fn http<S, F, W>(stream: S, mut ending: Ending, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> W,
    W: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    tokio::select! {
        // A client that goes away, or speaks no HTTP, is its own concern.
        _ = served.as_mut() => {}
        () = end(&mut ending) => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}

/// A line of text as an answer.
pub(crate) fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, PLAIN, format!("{text}\n"))
}

pub(crate) fn response(
    status: StatusCode,
    kind: &'static str,
    text: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn only_loopback_unless_told_otherwise() {
        for address in ["127.0.0.1:0", "localhost:0"] {
            bind_local(address, false).await.unwrap();
        }
        for address in ["0.0.0.0:0", "[::]:0"] {
            let error = bind_local(address, false).await.unwrap_err().to_string();
            assert!(error.contains("--allow-remote"), "{error}");
        }
        bind_local("0.0.0.0:0", true).await.unwrap();
        let error = bind_local("9764", false).await.unwrap_err().to_string();
        assert!(error.contains("want ADDRESS:PORT"), "{error}");
    }
}
