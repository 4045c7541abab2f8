//! Connections: so many at once and no more, and an end that lets requests be answered.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
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

/// Whether the server is to end.
pub(super) type Ending = watch::Receiver<bool>;

async fn end(ending: &mut Ending) {
    let _ = ending.wait_for(|ending| *ending).await;
}

pub(super) async fn bind(flag: &str, address: &str) -> Result<TcpListener, Error> {
    let refused = |e| Error::Refused(format!("{flag} {address}: {e} (want ADDRESS:PORT)"));
    TcpListener::bind(address).await.map_err(refused)
}

/// Takes connections until the end comes, and returns when they are over, or [`DRAIN`] is.
pub(super) async fn accept<F, W>(
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
pub(super) async fn http<S, F, W>(stream: S, mut ending: Ending, answer: F)
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
