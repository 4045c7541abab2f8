//! A hook's output: read as it comes, the last 4 KiB kept, passed on where that is wanted.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::Receiver;

/// As much of a hook's output as is kept.
pub(super) const KEEP: usize = 4096;

/// One read.
const CHUNK: usize = 16 * 1024;

/// After the hook's end no more than this is read: a process that it left behind may write for ever.
const DRAIN: usize = 512 * 1024;

/// Where the output of a hook with `output: container` goes as well: the container's own stdout and
/// stderr.
///
/// The descriptors must not block, and must not share their open file description with anyone who
/// expects them to.
#[derive(Debug)]
pub struct Sink {
    /// For what the hook writes to its stdout.
    pub stdout: OwnedFd,
    /// For what the hook writes to its stderr.
    pub stderr: OwnedFd,
}

/// The reading side.
pub(super) struct Output {
    streams: [Stream; 2],
    tail: Tail,
    chunk: Vec<u8>,
}

struct Stream {
    /// `None` once it is at its end.
    pipe: Option<Receiver>,
    sink: Option<OwnedFd>,
    /// Read, and not yet taken by the sink.
    pending: Vec<u8>,
}

impl Output {
    /// One pipe for stdout and stderr: what they write is read in the order it was written.
    pub fn captured(both: OwnedFd) -> io::Result<Self> {
        Ok(Self::new(
            Stream::new(Some(both), None)?,
            Stream::new(None, None)?,
        ))
    }

    /// A pipe of each, passed on to the sink.
    pub fn shared(stdout: OwnedFd, stderr: OwnedFd, sink: Sink) -> io::Result<Self> {
        Ok(Self::new(
            Stream::new(Some(stdout), Some(sink.stdout))?,
            Stream::new(Some(stderr), Some(sink.stderr))?,
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

    /// Reads what is there now, up to a limit; waits for no writer.
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
        }
    }

    /// The last 4 KiB.
    pub fn into_tail(self) -> Vec<u8> {
        self.tail.into_vec()
    }
}

impl Stream {
    fn new(pipe: Option<OwnedFd>, sink: Option<OwnedFd>) -> io::Result<Self> {
        Ok(Self {
            pipe: pipe.map(Receiver::from_owned_fd).transpose()?,
            sink,
            pending: Vec::new(),
        })
    }

    async fn pass_on(&mut self, bytes: &[u8]) {
        if self.sink.is_some() {
            self.pending.extend_from_slice(bytes);
            self.flush().await;
        }
    }

    /// Writes to the sink; a full one makes the hook wait, as it makes the container wait. A broken one
    /// is given up, the hook is not.
    async fn flush(&mut self) {
        while let Some(sink) = self.sink.as_ref()
            && !self.pending.is_empty()
        {
            let (start, length) = (self.pending.as_ptr(), self.pending.len());
            // SAFETY: a valid descriptor and a valid buffer.
            let written = unsafe { libc::write(sink.as_raw_fd(), start.cast(), length) };
            match usize::try_from(written) {
                Ok(0) => self.sink = None,
                Ok(count) => drop(self.pending.drain(..count.min(length))),
                Err(_) => match io::Error::last_os_error().kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock if writable(sink).await.is_ok() => {}
                    _ => self.sink = None,
                },
            }
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

async fn writable(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: the reference keeps the descriptor open for as long as it is registered.
    let fd = unsafe { AsyncFd::register_with_interest(fd.as_fd(), tokio::io::Interest::WRITABLE)? };
    let mut guard = fd.writable().await?;
    guard.retain_ready();
    Ok(())
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
