//! The lines of hooks among those of the container's own output.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc::Receiver;
use tokio::time::Sleep;

/// How long a hook's line waits for the container to end its own; then it begins a new one.
const PATIENCE: Duration = Duration::from_millis(250);

/// A container's output with the lines of its hooks between its lines.
///
/// It ends once the container has closed its side and no hook can write any more.
pub struct Merged<R> {
    container: R,
    container_ended: bool,
    /// Whole lines; `None` once no hook can come.
    hooks: Option<Receiver<Vec<u8>>>,
    /// As a terminal ends a line.
    crlf: bool,
    /// What was given out last ended a line.
    at_line_start: bool,
    /// The container's turn, where both have something.
    containers_turn: bool,
    /// Lines of a hook that wait for their place.
    waiting: Vec<u8>,
    /// Since when they do.
    patience: Option<Pin<Box<Sleep>>>,
    /// Bytes that are being given out.
    current: Vec<u8>,
    given: usize,
    /// The container's begun line that lines of a hook go before.
    held: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Merged<R> {
    /// Merges; `crlf` for a terminal.
    pub fn new(container: R, hooks: Receiver<Vec<u8>>, crlf: bool) -> Self {
        Self {
            container,
            container_ended: false,
            hooks: Some(hooks),
            crlf,
            at_line_start: true,
            containers_turn: false,
            waiting: Vec::new(),
            patience: None,
            current: Vec::new(),
            given: 0,
            held: Vec::new(),
        }
    }

    /// Lines of a hook, where there are any.
    fn poll_hooks(&mut self, cx: &mut Context<'_>) {
        if self.waiting.is_empty()
            && let Some(hooks) = &mut self.hooks
        {
            match hooks.poll_recv(cx) {
                Poll::Ready(Some(lines)) => self.waiting = lines,
                Poll::Ready(None) => self.hooks = None,
                Poll::Pending => {}
            }
        }
    }

    /// Whether the lines that wait may go out now.
    fn has_place(&mut self, cx: &mut Context<'_>) -> bool {
        if self.at_line_start || self.container_ended {
            return true;
        }
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        patience.as_mut().poll(cx).is_ready()
    }

    /// Makes the lines that wait the next to be given out.
    fn place(&mut self) {
        let lines = std::mem::take(&mut self.waiting);
        self.patience = None;
        self.current = if self.crlf {
            terminal_lines(&lines)
        } else {
            lines
        };
        if !self.at_line_start {
            let end: &[u8] = if self.crlf { b"\r\n" } else { b"\n" };
            self.current.splice(0..0, end.iter().copied());
        }
        self.given = 0;
        self.at_line_start = true;
        self.containers_turn = true;
    }

    /// Gives out as much of `current` as there is room for; false where there is nothing.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = self.current.get(self.given..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        let count = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..count).unwrap_or_default());
        self.given = self.given.saturating_add(count);
        if self.given == self.current.len() {
            // Its memory too: hooks are rare.
            self.current = Vec::new();
            self.given = 0;
        }
        true
    }

    fn poll_container(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.container).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        let Some(last) = new.last() else {
            self.container_ended = true;
            return Poll::Ready(Ok(()));
        };
        self.at_line_start = *last == b'\n';
        self.containers_turn = false;
        if !self.waiting.is_empty()
            && !self.at_line_start
            && let Some(begun) = new.rsplit(|byte| *byte == b'\n').next()
            && begun.len() < new.len()
        {
            // The begun line is kept back for the waiting ones.
            self.held = begun.to_vec();
            buf.set_filled(buf.filled().len().saturating_sub(self.held.len()));
            self.at_line_start = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// What the line discipline makes of them.
fn terminal_lines(lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len().saturating_add(16));
    for byte in lines {
        if *byte == b'\n' {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}

impl<R: AsyncRead + Unpin> AsyncRead for Merged<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.give(buf) {
                return Poll::Ready(Ok(()));
            }
            this.poll_hooks(cx);
            let lines_wait = !this.waiting.is_empty();
            if lines_wait && (!this.containers_turn || this.container_ended) && this.has_place(cx) {
                this.place();
                continue;
            }
            if !this.held.is_empty() {
                this.current = std::mem::take(&mut this.held);
                this.at_line_start = false;
                this.containers_turn = false;
                continue;
            }
            if !this.container_ended {
                match this.poll_container(cx, buf) {
                    Poll::Ready(Ok(())) if this.container_ended => continue,
                    // A terminal that has hung up: hooks may still print.
                    Poll::Ready(Err(_)) if this.hooks.is_some() || lines_wait => {
                        this.container_ended = true;
                        continue;
                    }
                    Poll::Ready(read) => return Poll::Ready(read),
                    Poll::Pending => {}
                }
                if lines_wait && this.containers_turn {
                    // It has nothing to say.
                    this.containers_turn = false;
                    continue;
                }
                return Poll::Pending;
            }
            if this.hooks.is_none() && this.waiting.is_empty() {
                return Poll::Ready(Ok(()));
            }
            return Poll::Pending;
        }
    }
}

#[cfg(test)]
mod tests {
    use podhook_hooks::handler::{LineQueue, line_queue};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn merged(crlf: bool) -> (DuplexStream, LineQueue, Merged<DuplexStream>) {
        let (container, reader) = duplex(1 << 16);
        let (hooks, lines) = line_queue();
        (container, hooks, Merged::new(reader, lines, crlf))
    }

    async fn read(merged: &mut Merged<DuplexStream>, count: usize) -> String {
        let mut text = vec![0; count];
        let limit = Duration::from_secs(60);
        let read = tokio::time::timeout(limit, merged.read_exact(&mut text)).await;
        read.expect("as much as that").unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_hook_may_print_before_the_container_and_after_it_has_closed() {
        let (mut container, hooks, mut merged) = merged(false);
        hooks.send(b"first\n".to_vec()).await.unwrap();
        assert_eq!(read(&mut merged, 6).await, "first\n");
        container.write_all(b"own\n").await.unwrap();
        drop(container);
        assert_eq!(read(&mut merged, 4).await, "own\n");
        hooks.send(b"late\n".to_vec()).await.unwrap();
        assert_eq!(read(&mut merged, 5).await, "late\n");
        drop(hooks);
        assert_eq!(merged.read(&mut [0; 8]).await.unwrap(), 0, "the end");
    }

    #[tokio::test]
    async fn a_line_of_the_container_is_not_torn() {
        let (mut container, hooks, mut merged) = merged(false);
        container.write_all(b"half").await.unwrap();
        assert_eq!(read(&mut merged, 4).await, "half");
        hooks.send(b"hook\n".to_vec()).await.unwrap();
        container.write_all(b" a line\nthe next").await.unwrap();
        drop(container);
        assert_eq!(
            read(&mut merged, 21).await,
            " a line\nhook\nthe next",
            "after the line, before what has begun"
        );
    }

    #[tokio::test]
    async fn a_line_that_never_ends_is_not_waited_for() {
        let (mut container, hooks, mut merged) = merged(false);
        container.write_all(b"prompt> ").await.unwrap();
        assert_eq!(read(&mut merged, 8).await, "prompt> ");
        hooks.send(b"hook\n".to_vec()).await.unwrap();
        assert_eq!(read(&mut merged, 6).await, "\nhook\n");
        container.write_all(b"ls\n").await.unwrap();
        assert_eq!(read(&mut merged, 3).await, "ls\n");
    }

    #[tokio::test]
    async fn the_last_line_of_a_container_gets_its_end_before_a_hooks() {
        let (mut container, hooks, mut merged) = merged(false);
        container.write_all(b"bye").await.unwrap();
        drop(container);
        hooks.send(b"hook\n".to_vec()).await.unwrap();
        drop(hooks);
        let mut text = String::new();
        merged.read_to_string(&mut text).await.unwrap();
        // The hook's came first, or waited for the end of the container's.
        assert!(text == "hook\nbye" || text == "bye\nhook\n", "{text:?}");
    }

    #[tokio::test]
    async fn neither_starves_the_other() {
        // Small: both sides have more to say all the time.
        let (mut container, reader) = duplex(100);
        let (hooks, lines) = line_queue();
        let mut merged = Merged::new(reader, lines, false);
        let own = tokio::spawn(async move {
            for _ in 0..2000 {
                container.write_all(b"own own own\nown own ").await.unwrap();
                container.write_all(b"own\n").await.unwrap();
            }
        });
        let of_hooks = tokio::spawn(async move {
            for _ in 0..200 {
                hooks.send(b"hook\nhook\n".to_vec()).await.unwrap();
            }
        });
        let mut text = String::new();
        merged.read_to_string(&mut text).await.unwrap();
        own.await.unwrap();
        of_hooks.await.unwrap();
        let count = |line| text.lines().filter(|found| *found == line).count();
        assert_eq!((count("own own own"), count("hook")), (4000, 400));
        assert_eq!(text.lines().count(), 4400, "no line is torn");
        let last = text.trim_end().rfind("hook").unwrap();
        assert!(last < text.len() - 1000, "hooks had their turns");
    }

    #[tokio::test]
    async fn a_terminals_lines_end_as_its_line_discipline_ends_them() {
        let (mut container, hooks, mut merged) = merged(true);
        hooks.send(b"one\ntwo\n".to_vec()).await.unwrap();
        assert_eq!(read(&mut merged, 10).await, "one\r\ntwo\r\n");
        container.write_all(b"$ ").await.unwrap();
        assert_eq!(read(&mut merged, 2).await, "$ ");
        hooks.send(b"three\n".to_vec()).await.unwrap();
        assert_eq!(read(&mut merged, 9).await, "\r\nthree\r\n");
    }
}
