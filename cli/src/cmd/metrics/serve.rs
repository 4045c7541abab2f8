//! `podhook metrics --listen`: the page over HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::ALLOW;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::cmd::error::Error as CommandError;
use crate::cmd::interrupt::Interrupts;
use crate::cmd::listen::{self, response};
use crate::node::metrics::{self, Node};

/// More than Prometheus ever opens; others wait.
const CONNECTIONS: usize = 16;
/// How long a client may take for its request.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// After a failed accept: too many open files do not go away by trying at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until a signal comes.
pub(crate) async fn run(node: Node, address: &str, allow_remote: bool) -> Result<(), CommandError> {
    let listener = listen::bind_local(address, allow_remote).await?;
    let mut interrupts = Interrupts::new()?;
    let at = listener.local_addr()?;
    eprintln!("serving http://{at}/metrics");
    match interrupts.stop(accept(listener, node)).await {
        // That is how it ends.
        Err(CommandError::Interrupted) => Ok(()),
        other => other,
    }
}

async fn accept(listener: TcpListener, node: Node) -> Result<(), CommandError> {
    let node = Arc::new(node);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return Ok(());
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let node = Arc::clone(&node);
                tokio::spawn(async move {
                    connection(stream, node).await;
                    drop(slot);
                });
            }
            Err(e) => {
                eprintln!("warning: accept: {e}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One request per connection: a scrape comes once a minute, and an idle client holds no slot.
async fn connection(stream: TcpStream, node: Arc<Node>) {
    let service = service_fn(move |request| {
        let node = Arc::clone(&node);
        async move { Ok::<_, Infallible>(answer(&request, &node).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away, or speaks no HTTP, is its own concern.
    let _ = served.await;
}

async fn answer(request: &Request<Incoming>, node: &Node) -> Response<Full<Bytes>> {
    let plain = "text/plain; charset=utf-8";
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = response(
            StatusCode::METHOD_NOT_ALLOWED,
            plain,
            "GET or HEAD\n".to_owned(),
        );
        response
            .headers_mut()
            .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => match node.scrape().await {
            Ok(scrape) => response(
                StatusCode::OK,
                metrics::CONTENT_TYPE,
                metrics::text(&scrape),
            ),
            Err(e) => {
                eprintln!("error: {e}");
                response(StatusCode::SERVICE_UNAVAILABLE, plain, format!("{e}\n"))
            }
        },
        "/" => response(StatusCode::OK, plain, "podhook: see /metrics\n".to_owned()),
        _ => response(
            StatusCode::NOT_FOUND,
            plain,
            "not found: see /metrics\n".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(at: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_a_client_gets() {
        let state = tempfile::tempdir().unwrap();
        let node = Node {
            state: state.path().to_owned(),
            timeout: Duration::from_millis(500),
        };
        let listener = listen::bind_local("127.0.0.1:0", false).await.unwrap();
        let at = listener.local_addr().unwrap();
        let serving = tokio::spawn(accept(listener, node));
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let page = ask(at, &get("/metrics")).await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(
            page.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{page}"
        );
        assert!(page.contains("\npodhook_shims 0\n"), "{page}");
        assert!(ask(at, &get("/")).await.contains("see /metrics"));
        assert!(ask(at, &get("/x")).await.starts_with("HTTP/1.1 404 "));
        let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        assert!(ask(at, post).await.starts_with("HTTP/1.1 405 "));
        assert!(
            ask(at, "nonsense\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 400 ")
        );
        // A node that cannot be read is no page of zeros.
        drop(state);
        let failed = ask(at, &get("/metrics")).await;
        assert!(failed.starts_with("HTTP/1.1 503 "), "{failed}");
        serving.abort();
    }
}
