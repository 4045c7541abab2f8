//! What goes on printing when a hook has ended.
//!
//! A process that a hook left running has the hook's stdout and stderr. Without a reader it would die of
//! SIGPIPE at its next line, or wait for ever once the pipe is full. So they are read as long as anything can write:
//! a task that sleeps while nothing is printed, and holds a descriptor of each and a few hundred bytes.

use std::future::Future;
use std::io;

use tokio::net::unix::pipe::Receiver;

use super::pipes::{self, chunk_size};
use super::sink::Feed;

/// Output that is read but no longer recorded.
pub struct Rest {
    streams: [Stream; 2],
}

struct Stream {
    pipe: Option<Receiver>,
    /// Where it goes; none is nowhere.
    feed: Option<Feed>,
}

impl Rest {
    /// `None` where no process can write any more.
    pub(super) fn new(pipes: [Option<Receiver>; 2], feeds: [Option<Feed>; 2]) -> Option<Self> {
        let [first, second] = pipes;
        let [first_feed, second_feed] = feeds;
        let streams = [(first, first_feed), (second, second_feed)].map(|(pipe, feed)| Stream {
            // Without a pipe nothing is to be passed on.
            feed: feed.filter(|_| pipe.is_some()),
            pipe,
        });
        let open = streams.iter().any(|stream| stream.pipe.is_some());
        open.then_some(Self { streams })
    }

    /// Reads until no process can write any more, or until `end`, and then the rest of the pipes. Returns how many
    /// bytes were not taken where they were to go.
    pub async fn pass_on(self, end: impl Future<Output = ()>) -> u64 {
        let [mut first, mut second] = self.streams;
        let before = first.dropped().saturating_add(second.dropped());
        tokio::select! {
            _ = async { tokio::join!(first.follow(), second.follow()) } => {}
            () = end => {}
        }
        for stream in [&mut first, &mut second] {
            stream.finish().await;
        }
        // What waited then may have been taken since.
        let after = first.dropped().saturating_add(second.dropped());
        after.saturating_sub(before)
    }
}

impl Stream {
    async fn follow(&mut self) {
        while let Some(pipe) = &self.pipe {
            if pipe.readable().await.is_err() {
                self.pipe = None;
                return;
            }
            match self
                .pipe
                .as_ref()
                .map(|pipe| read(pipe, Receiver::try_read))
            {
                Some(Ok(bytes)) if !bytes.is_empty() => self.take(&bytes).await,
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => self.pipe = None,
            }
            // Who prints without end is not to keep others waiting.
            tokio::task::yield_now().await;
        }
    }

    /// What is there now, as much as a pipe holds, and the end of a last line.
    async fn finish(&mut self) {
        let mut left = pipes::USUAL_SIZE as usize;
        while left > 0
            && let Some(pipe) = &self.pipe
            && let Ok(bytes) = read(pipe, pipes::read)
            && !bytes.is_empty()
        {
            left = left.saturating_sub(bytes.len());
            self.take(&bytes).await;
        }
        self.pipe = None;
        if let Some(feed) = &mut self.feed {
            feed.finish();
            feed.flush().await;
        }
    }

    async fn take(&mut self, bytes: &[u8]) {
        if let Some(feed) = &mut self.feed {
            feed.push(bytes);
            feed.flush().await;
        }
    }

    fn dropped(&self) -> u64 {
        self.feed.as_ref().map_or(0, Feed::dropped)
    }
}

/// One piece, in memory that is held no longer than the piece.
fn read(
    pipe: &Receiver,
    read: impl Fn(&Receiver, &mut [u8]) -> io::Result<usize>,
) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; chunk_size()];
    let count = read(pipe, &mut chunk)?;
    chunk.truncate(count);
    Ok(chunk)
}
