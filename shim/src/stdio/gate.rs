//! Holds a copy back until its process exists. The OCI runtime has the process's stderr, and prints there why it
//! failed: that belongs into the error of the RPC, and not into the output of a container that never was.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::oneshot;

/// A source that gives nothing before it is let go.
pub struct Gated<R> {
    from: R,
    closed: Option<oneshot::Receiver<()>>,
}

/// Lets it go, as dropping it does.
pub type Gate = oneshot::Sender<()>;

impl<R> Gated<R> {
    /// One that gives everything at once.
    pub fn open(from: R) -> Self {
        Self { from, closed: None }
    }

    /// One that waits for its gate.
    pub fn closed(from: R) -> (Self, Gate) {
        let (gate, closed) = oneshot::channel();
        let closed = Some(closed);
        (Self { from, closed }, gate)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Gated<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(closed) = &mut self.closed {
            let _ = ready!(Pin::new(closed).poll(context));
            self.closed = None;
        }
        Pin::new(&mut self.from).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn nothing_passes_a_closed_gate() {
        let (mut gated, gate) = Gated::closed(&b"said"[..]);
        let mut text = String::new();
        {
            let read = gated.read_to_string(&mut text);
            tokio::pin!(read);
            tokio::select! {
                biased;
                _ = &mut read => panic!("read through a closed gate"),
                () = tokio::task::yield_now() => {}
            }
            drop(gate);
            read.await.unwrap();
        }
        assert_eq!(text, "said");
    }
}
