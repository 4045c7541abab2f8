//! The connections to the shim: counted, so that it knows when there is none, and limited in what each may have
//! outstanding.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::containerd::outstanding::Outstanding;

/// The number of connections.
#[derive(Clone)]
pub struct Clients(Arc<watch::Sender<usize>>);

/// One of them, counted until it is dropped.
pub struct Connection {
    stream: UnixStream,
    outstanding: Outstanding,
    count: Arc<watch::Sender<usize>>,
}

impl Default for Clients {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Clients {
    /// Counts a connection.
    pub fn connected(&self, stream: UnixStream) -> Connection {
        self.0.send_modify(|count| *count = count.saturating_add(1));
        Connection {
            stream,
            outstanding: Outstanding::default(),
            count: Arc::clone(&self.0),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until there is one.
    pub async fn some(&self) {
        let _ = self.0.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Waits until there is none.
    pub async fn none(&self) {
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.count
            .send_modify(|count| *count = count.saturating_sub(1));
        if self.outstanding.were_many() {
            crate::host::memory::worked();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.outstanding.may_read(cx.waker()) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = buf.filled().get(before..).unwrap_or_default();
        self.outstanding.was_read(bytes);
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Ready(Ok(count)) => {
                if self
                    .outstanding
                    .was_written(buf.get(..count).unwrap_or(buf))
                {
                    crate::host::memory::worked();
                }
                Poll::Ready(Ok(count))
            }
            Poll::Pending => {
                self.outstanding.is_unread();
                Poll::Pending
            }
            error => error,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
