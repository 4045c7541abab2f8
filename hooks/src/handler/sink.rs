//! Where a hook's output goes besides the record: line by line into bounded queues.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::lines::Lines;
use crate::deadline;

/// How long a queue that is not emptied holds up a hook; after that its lines are dropped until there
/// is room again.
const STALL: Duration = Duration::from_secs(1);

/// A queue of whole lines: every item ends with a newline and has at most about 32 KiB.
pub type LineQueue = mpsc::Sender<Vec<u8>>;

/// As many items wait in a queue at the most.
const QUEUE: usize = 4;

/// A queue and its other end.
pub fn line_queue() -> (LineQueue, mpsc::Receiver<Vec<u8>>) {
    mpsc::channel(QUEUE)
}

/// Where the output of a hook with `output: container` goes as well: to the container's own stdout and
/// stderr.
#[derive(Debug, Clone)]
pub enum Sink {
    /// Both to one, in the order they were written: a terminal.
    Joined(LineQueue),
    /// Each to its own; none is nowhere.
    Apart {
        /// For what the hook writes to its stdout.
        stdout: Option<LineQueue>,
        /// For what the hook writes to its stderr.
        stderr: Option<LineQueue>,
    },
}

impl Sink {
    /// Prints what a hook without a process has got, as its stdout. Gives the bytes that were not taken.
    pub async fn print(self, bytes: &[u8]) -> u64 {
        let (Self::Joined(queue)
        | Self::Apart {
            stdout: Some(queue),
            ..
        }) = self
        else {
            return 0;
        };
        let mut feed = Feed::new(queue);
        feed.push(bytes);
        feed.finish();
        feed.flush().await;
        feed.dropped()
    }
}

/// One stream's way into its queue.
pub(super) struct Feed {
    queue: LineQueue,
    lines: Lines,
    /// Lines on their way into the queue.
    pending: Vec<u8>,
    /// The queue was full for too long.
    stalled: bool,
    dropped: u64,
}

impl Feed {
    pub fn new(queue: LineQueue) -> Self {
        Self {
            queue,
            lines: Lines::default(),
            pending: Vec::new(),
            stalled: false,
            dropped: 0,
        }
    }

    /// Takes what the hook has written. What is under way comes first: see [`Self::flush`].
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend(self.lines.push(bytes));
    }

    /// The hook writes no more.
    pub fn finish(&mut self) {
        self.pending.extend(self.lines.finish());
    }

    /// Puts what is pending into the queue. A full one is waited for, but not for long. Nothing is lost
    /// where the future is dropped.
    pub async fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if self.stalled {
            match self.queue.try_send(std::mem::take(&mut self.pending)) {
                Ok(()) => self.stalled = false,
                Err(TrySendError::Full(lines) | TrySendError::Closed(lines)) => {
                    self.dropped = self.dropped.saturating_add(lines.len() as u64);
                }
            }
            return;
        }
        let taken = match deadline::within(STALL, self.queue.reserve()).await {
            Some(Ok(permit)) => {
                permit.send(std::mem::take(&mut self.pending));
                true
            }
            // The container's end of it is gone.
            Some(Err(_)) => false,
            None => {
                self.stalled = true;
                false
            }
        };
        if !taken {
            self.drop_pending();
        }
    }

    fn drop_pending(&mut self) {
        self.dropped = self.dropped.saturating_add(self.pending.len() as u64);
        self.pending.clear();
    }

    /// The bytes that did not get into the queue, once nothing more is to come.
    pub fn dropped(&self) -> u64 {
        let waiting = self.pending.len().saturating_add(self.lines.kept());
        self.dropped.saturating_add(waiting as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn a_queue_that_nobody_empties_holds_up_once_and_then_drops() {
        let (queue, mut lines) = line_queue();
        let mut feed = Feed::new(queue);
        let start = tokio::time::Instant::now();
        for _ in 0..100 {
            feed.push(b"line\n");
            feed.flush().await;
        }
        assert!(start.elapsed() < 20 * STALL, "one wait, whatever comes");
        assert_eq!(feed.dropped(), (100 - QUEUE as u64) * 5);
        // With room again it goes on.
        assert_eq!(lines.recv().await.unwrap(), b"line\n");
        feed.push(b"again\nno end");
        feed.flush().await;
        feed.finish();
        let rest = async {
            let mut all = Vec::new();
            for _ in 0..QUEUE + 1 {
                all.extend(lines.recv().await.unwrap());
            }
            all
        };
        let ((), all) = tokio::join!(feed.flush(), rest);
        assert_eq!(all, b"line\nline\nline\nagain\nno end\n");
    }

    #[tokio::test]
    async fn a_flush_that_is_given_up_loses_nothing() {
        let (queue, mut lines) = line_queue();
        let mut feed = Feed::new(queue);
        for _ in 0..QUEUE {
            feed.push(b"a\n");
            feed.flush().await;
        }
        feed.push(b"b\n");
        {
            let mut flush = pin!(feed.flush());
            let first = poll_fn(|cx| Poll::Ready(flush.as_mut().poll(cx))).await;
            assert!(first.is_pending(), "there was room");
        }
        lines.recv().await.unwrap();
        feed.flush().await;
        assert_eq!(feed.dropped(), 0);
        let mut last = Vec::new();
        for _ in 0..QUEUE {
            last = lines.recv().await.unwrap();
        }
        assert_eq!(last, b"b\n");
    }

    #[tokio::test]
    async fn what_a_hook_without_a_process_has_got_is_printed_as_whole_lines() {
        let (queue, mut lines) = line_queue();
        let stderr = line_queue().0;
        let sink = Sink::Apart {
            stdout: Some(queue),
            stderr: Some(stderr),
        };
        assert_eq!(sink.print(b"drained\n3 left").await, 0);
        assert_eq!(lines.recv().await.unwrap(), b"drained\n3 left\n");
        let nowhere = Sink::Apart {
            stdout: None,
            stderr: None,
        };
        assert_eq!(nowhere.print(b"drained").await, 0);
    }

    #[tokio::test]
    async fn an_end_that_is_gone_costs_nothing() {
        let (queue, lines) = line_queue();
        drop(lines);
        let mut feed = Feed::new(queue);
        feed.push(b"a\n");
        feed.flush().await;
        assert_eq!(feed.dropped(), 2);
    }
}
