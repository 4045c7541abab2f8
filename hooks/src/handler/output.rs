//! A hook's output: read as it comes, the last 4 KiB kept, passed on where that is wanted.

use std::io;
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe::Receiver;

use super::ordered::{self, Ordered};
use super::pipes::{self, chunk_size};
use super::rest::Rest;
use super::sink::{Feed, LineQueue};
use crate::linux::watch;

/// As much of a hook's output as is kept.
pub(super) const KEEP: usize = 4096;

/// After the hook's end no more than this is read for its record: a process that it left behind may write for ever.
const DRAIN: usize = 512 * 1024;

pub(super) struct Output {
    source: Source,
    /// Where stdout goes besides the tail, and stderr.
    feeds: [Option<Feed>; 2],
    tail: Tail,
    chunk: Vec<u8>,
}

enum Source {
    /// One pipe for both; `None` at its end.
    Joined(Option<Receiver>),
    /// A pipe of each.
    Apart(Ordered),
}

/// What the hook gets, and the reading side.
pub(super) struct Made {
    pub output: Output,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

impl Output {
    /// One pipe for stdout and stderr: what they write is read in the order it was written.
    pub fn joined(queue: Option<LineQueue>) -> io::Result<Made> {
        let pipe = pipes::pipe(0)?;
        let source = Source::Joined(Some(watch::receiver(pipe.read)?));
        Ok(Made {
            output: Self::new(source, [queue, None]),
            stderr: pipe.write.try_clone()?,
            stdout: pipe.write,
        })
    }

    /// A pipe of each, in the same order.
    pub fn apart(stdout: Option<LineQueue>, stderr: Option<LineQueue>) -> io::Result<Made> {
        let (out, err) = (ordered::pipe()?, ordered::pipe()?);
        let source = Source::Apart(Ordered::new([out.read, err.read])?);
        Ok(Made {
            output: Self::new(source, [stdout, stderr]),
            stdout: out.write,
            stderr: err.write,
        })
    }

    fn new(source: Source, queues: [Option<LineQueue>; 2]) -> Self {
        Self {
            source,
            feeds: queues.map(|queue| queue.map(Feed::new)),
            tail: Tail::default(),
            chunk: vec![0; chunk_size()],
        }
    }

    /// Reads for as long as there is a writer, then never returns. It can be dropped at any time and
    /// called again; nothing is lost.
    pub async fn read(&mut self) -> std::convert::Infallible {
        self.flush().await;
        loop {
            match self.source.read(&mut self.chunk).await {
                Some((index, count)) => self.take(index, count).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Reads what the pipes hold now, up to a limit, without waiting for a writer. Nothing more is recorded then: a
    /// last line without an end gets one.
    pub async fn drain(&mut self) {
        self.flush().await;
        let mut left = DRAIN;
        while left > 0
            && let Some((index, count)) = self.source.read_now(&mut self.chunk)
        {
            self.take(index, count).await;
            left = left.saturating_sub(count);
        }
        for feed in self.feeds.iter_mut().flatten() {
            feed.finish();
        }
        self.flush().await;
    }

    async fn take(&mut self, index: usize, count: usize) {
        let bytes = self.chunk.get(..count).unwrap_or_default();
        self.tail.push(bytes);
        if let Some(Some(feed)) = self.feeds.get_mut(index) {
            feed.push(bytes);
            feed.flush().await;
        }
    }

    async fn flush(&mut self) {
        for feed in self.feeds.iter_mut().flatten() {
            feed.flush().await;
        }
    }

    /// The bytes that did not get where they were to go besides.
    pub fn dropped(&self) -> u64 {
        self.feeds.iter().flatten().map(Feed::dropped).sum()
    }

    /// The last 4 KiB, and what is still to be read of processes that the hook left running.
    pub fn into_tail_and_rest(self) -> (Vec<u8>, Option<Rest>) {
        let pipes = match self.source {
            Source::Joined(pipe) => [pipe, None],
            Source::Apart(ordered) => ordered
                .into_pipes()
                // One that cannot be watched any more cannot be read.
                .map(|pipe| pipe.and_then(|pipe| watch::receiver(pipe).ok())),
        };
        (self.tail.into_vec(), Rest::new(pipes, self.feeds))
    }
}

impl Source {
    /// Waits for the next piece: the stream's index and the length; `None` at the end.
    async fn read(&mut self, chunk: &mut [u8]) -> Option<(usize, usize)> {
        let pipe = match self {
            Self::Joined(pipe) => pipe,
            Self::Apart(ordered) => return ordered.read(chunk).await,
        };
        loop {
            let reader = pipe.as_ref()?;
            let read = match reader.readable().await {
                Ok(()) => reader.try_read(chunk),
                Err(error) => Err(error),
            };
            match read {
                Ok(count @ 1..) => return Some((0, count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => *pipe = None,
            }
        }
    }

    /// The next piece, where there is one now. Asks the kernel, not the reactor: that may not have heard yet of what
    /// the hook wrote last.
    fn read_now(&mut self, chunk: &mut [u8]) -> Option<(usize, usize)> {
        match self {
            Self::Apart(ordered) => ordered.read_now(chunk),
            Self::Joined(pipe) => match pipes::read(pipe.as_ref()?, chunk) {
                Ok(count @ 1..) => Some((0, count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                _ => {
                    *pipe = None;
                    None
                }
            },
        }
    }
}

/// The newest bytes of a stream.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let bytes = bytes
            .get(bytes.len().saturating_sub(KEEP)..)
            .unwrap_or_default();
        let all = self.0.len().saturating_add(bytes.len());
        let over = all.saturating_sub(KEEP);
        self.0.drain(..over.min(self.0.len()));
        self.0.extend_from_slice(bytes);
    }

    fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_newest_4_kib() {
        let mut tail = Tail::default();
        for _ in 0..1000 {
            tail.push(b"0123456789");
        }
        tail.push(b"end");
        let kept = tail.into_vec();
        assert_eq!(kept.len(), KEEP);
        assert!(kept.ends_with(b"789end"));
        let mut tail = Tail::default();
        tail.push(&vec![b'x'; 3 * KEEP]);
        assert_eq!(tail.into_vec().len(), KEEP);
    }
}
