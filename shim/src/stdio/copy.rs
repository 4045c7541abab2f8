//! Copying without a buffer in between: most processes print seldom, and a shim has two streams of each.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// The most that one read takes.
const CHUNK: usize = 8 << 10;
/// The most that is handed on at once: what a pipe holds.
const BATCH: usize = 64 << 10;

/// Copies until `from` ends. Memory is held only for what is being written.
pub async fn copy<R, W>(from: &mut R, to: &mut W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let bytes = chunk(from).await?;
        if bytes.is_empty() {
            return to.flush().await;
        }
        to.write_all(&bytes).await?;
    }
}

/// What there is to read next; empty at the end.
pub async fn chunk<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Vec<u8>> {
    poll_fn(|cx| {
        // On the stack: nothing of it outlives the call where there is nothing to read.
        let mut space = [MaybeUninit::uninit(); CHUNK];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().to_vec()))
    })
    .await
}

/// The same, with what else can be read without waiting: for what is dear to hand on.
pub async fn batch<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Vec<u8>> {
    let mut bytes = chunk(from).await?;
    let mut last = bytes.len();
    // Less than was asked for is all that there is.
    while last == CHUNK && bytes.len() < BATCH {
        let mut next = pin!(chunk(from));
        let more = poll_fn(|cx| match next.as_mut().poll(cx) {
            Poll::Ready(Ok(more)) => Poll::Ready(more),
            // The end, or the error, comes again.
            _ => Poll::Ready(Vec::new()),
        });
        let more = more.await;
        last = more.len();
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn everything_arrives_through_a_reader_that_is_slow() {
        let sent: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        let (mut source, mut from) = tokio::io::duplex(3000);
        let (mut to, mut sink) = tokio::io::duplex(700);
        let feed = async {
            source.write_all(&sent).await.unwrap();
            drop(source);
        };
        let carry = async {
            copy(&mut from, &mut to).await.unwrap();
            drop(to);
        };
        let mut received = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut sink, &mut received);
        let ((), (), read) = tokio::join!(feed, carry, read);
        assert_eq!(read.unwrap(), sent.len());
        assert!(received == sent);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_batch_is_what_there_is_and_waits_for_no_more() {
        let sent: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        let (mut source, mut from) = tokio::io::duplex(1 << 20);
        source.write_all(&sent).await.unwrap();
        let first = batch(&mut from).await.unwrap();
        let second = batch(&mut from).await.unwrap();
        assert_eq!((first.len(), second.len()), (BATCH, sent.len() - BATCH));
        assert!([first, second].concat() == sent);
        source.write_all(&sent[..CHUNK]).await.unwrap();
        assert_eq!(batch(&mut from).await.unwrap().len(), CHUNK);
        source.write_all(b"x").await.unwrap();
        drop(source);
        assert_eq!(batch(&mut from).await.unwrap(), b"x");
        assert_eq!(batch(&mut from).await.unwrap(), b"");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_writer_that_fails_ends_the_copy() {
        let (mut source, mut from) = tokio::io::duplex(64);
        let (mut to, sink) = tokio::io::duplex(64);
        drop(sink);
        source.write_all(b"x").await.unwrap();
        let error = copy(&mut from, &mut to).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
