//! A hook's output: read as it comes, the last 4 KiB kept, passed on where that is wanted.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use tokio::net::unix::pipe::Receiver;

use super::sink::{Feed, LineQueue};

/// As much of a hook's output as is kept.
pub(super) const KEEP: usize = 4096;

/// One read.
const CHUNK: usize = 16 * 1024;

/// After the hook's end no more than this is read: a process that it left behind may write for ever.
const DRAIN: usize = 512 * 1024;

/// The reading side.
pub(super) struct Output {
    streams: [Stream; 2],
    tail: Tail,
    chunk: Vec<u8>,
}

struct Stream {
    /// `None` once it is at its end.
    pipe: Option<Receiver>,
    /// Where it goes besides the tail.
    feed: Option<Feed>,
}

impl Output {
    /// One pipe for stdout and stderr: what they write is read in the order it was written.
    pub fn joined(both: OwnedFd, queue: Option<LineQueue>) -> io::Result<Self> {
        Ok(Self::new(
            Stream::new(Some(both), queue)?,
            Stream::new(None, None)?,
        ))
    }

    /// A pipe of each.
    pub fn apart(
        (stdout, to_stdout): (OwnedFd, Option<LineQueue>),
        (stderr, to_stderr): (OwnedFd, Option<LineQueue>),
    ) -> io::Result<Self> {
        Ok(Self::new(
            Stream::new(Some(stdout), to_stdout)?,
            Stream::new(Some(stderr), to_stderr)?,
        ))
    }

    fn new(first: Stream, second: Stream) -> Self {
        Self {
            streams: [first, second],
            tail: Tail::default(),
            chunk: vec![0; CHUNK],
        }
    }

    /// Reads for as long as there is a writer, then never returns. It can be dropped at any time and
    /// called again; nothing is lost.
    pub async fn read(&mut self) -> std::convert::Infallible {
        for stream in &mut self.streams {
            stream.flush().await;
        }
        loop {
            let [first, second] = &mut self.streams;
            let (stream, ready, is_first) = tokio::select! {
                biased;
                ready = readable(&first.pipe) => (first, ready, true),
                ready = readable(&second.pipe) => (second, ready, false),
            };
            let count = ready.and_then(|()| try_read(&stream.pipe, &mut self.chunk));
            match count {
                Ok(0) => stream.pipe = None,
                Ok(count) => {
                    let bytes = self.chunk.get(..count).unwrap_or_default();
                    self.tail.push(bytes);
                    stream.pass_on(bytes).await;
                    // By turns: one that always has something does not starve the other.
                    if is_first {
                        self.streams.swap(0, 1);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => stream.pipe = None,
            }
        }
    }

    /// Reads what is there now, up to a limit; waits for no writer. Nothing more is read then: a last line
    /// without an end gets one.
    pub async fn drain(&mut self) {
        for stream in &mut self.streams {
            stream.flush().await;
            let mut left = DRAIN;
            while left > 0 {
                match read_now(&stream.pipe, &mut self.chunk) {
                    Ok(count @ 1..) => {
                        let bytes = self.chunk.get(..count).unwrap_or_default();
                        self.tail.push(bytes);
                        stream.pass_on(bytes).await;
                        left = left.saturating_sub(count);
                    }
                    _ => break,
                }
            }
            if let Some(feed) = &mut stream.feed {
                feed.finish();
                feed.flush().await;
            }
        }
    }

    /// The bytes that did not get where they were to go besides.
    pub fn dropped(&self) -> u64 {
        let feeds = self.streams.iter().filter_map(|s| s.feed.as_ref());
        feeds.map(Feed::dropped).sum()
    }

    /// The last 4 KiB.
    pub fn into_tail(self) -> Vec<u8> {
        self.tail.into_vec()
    }
}

impl Stream {
    fn new(pipe: Option<OwnedFd>, queue: Option<LineQueue>) -> io::Result<Self> {
        Ok(Self {
            pipe: pipe.map(Receiver::from_owned_fd).transpose()?,
            feed: queue.map(Feed::new),
        })
    }

    async fn pass_on(&mut self, bytes: &[u8]) {
        if let Some(feed) = &mut self.feed {
            feed.push(bytes);
            feed.flush().await;
        }
    }

    async fn flush(&mut self) {
        if let Some(feed) = &mut self.feed {
            feed.flush().await;
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
        let over = (self.0.len() + bytes.len()).saturating_sub(KEEP);
        self.0.drain(..over.min(self.0.len()));
        self.0.extend_from_slice(bytes);
    }

    fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

async fn readable(pipe: &Option<Receiver>) -> io::Result<()> {
    match pipe {
        Some(pipe) => pipe.readable().await,
        None => std::future::pending().await,
    }
}

fn try_read(pipe: &Option<Receiver>, chunk: &mut [u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.try_read(chunk),
        None => Ok(0),
    }
}

/// Asks the kernel, not the reactor: that may not have heard yet of what the hook wrote last.
fn read_now(pipe: &Option<Receiver>, chunk: &mut [u8]) -> io::Result<usize> {
    let Some(pipe) = pipe else {
        return Ok(0);
    };
    // SAFETY: a valid descriptor, which does not block, and a valid buffer.
    let count = unsafe { libc::read(pipe.as_raw_fd(), chunk.as_mut_ptr().cast(), chunk.len()) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
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
