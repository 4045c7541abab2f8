//! One request and its response on one connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HeaderMap, LOCATION};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Uri};

use super::error::{NetError, http};
use super::stream::Stream;

/// Read of a body, as the kubelet (`maxRespBodyLength`).
const MAX_BODY: usize = 10 * 1024;

/// Kept of a body.
const MAX_KEPT: usize = 4 * 1024;

/// The head of a response may have this size, and so many headers.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 256;

/// What a server answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// Of a redirect.
    pub(super) location: Option<String>,
    /// The first 4 KiB.
    pub(super) body: Vec<u8>,
}

/// Sends a GET and reads its response. The connection is closed in the end, and when dropped.
pub(super) async fn exchange(
    stream: Stream,
    target: &str,
    headers: HeaderMap,
) -> Result<Reply, NetError> {
    let target = PathAndQuery::try_from(target).map_err(|e| NetError::Path(e.to_string()))?;
    let mut request = Request::new(String::new());
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = headers;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        // As Go writes them, for servers that take case seriously.
        .title_case_headers(true)
        .handshake(stream)
        .await
        .map_err(|error| http(&error))?;
    let answer = async {
        let response = sender.send_request(request).await;
        match response {
            Ok(response) => Ok(read(response).await),
            Err(error) => Err(http(&error)),
        }
    };
    beside(connection, answer).await
}

/// Runs `answer`, and beside it the connection that brings it. The connection's own result is not
/// needed: what ends it ends the answer too.
async fn beside<T>(connection: impl Future, answer: impl Future<Output = T>) -> T {
    let mut connection = pin!(connection);
    let mut answer = pin!(answer);
    let mut ended = false;
    poll_fn(|cx| {
        ended = ended || connection.as_mut().poll(cx).is_ready();
        answer.as_mut().poll(cx)
    })
    .await
}

/// Reads the body to its end or to the limit. A body that breaks off changes nothing, as for the
/// kubelet: the status has been given.
async fn read(response: Response<Incoming>) -> Reply {
    let (head, mut incoming) = response.into_parts();
    let location = head
        .headers
        .get(LOCATION)
        .filter(|_| redirects(head.status));
    let mut body = Vec::new();
    let mut seen = 0;
    while seen < MAX_BODY {
        let frame = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else {
            break;
        };
        if let Some(data) = frame.data_ref() {
            seen = seen.saturating_add(data.len());
            let room = MAX_KEPT.saturating_sub(body.len());
            body.extend_from_slice(data.get(..room).unwrap_or(data));
        }
    }
    Reply {
        status: head.status,
        location: location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        body,
    }
}

/// The statuses Go follows for a GET.
fn redirects(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
