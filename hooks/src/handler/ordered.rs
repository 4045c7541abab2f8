//! Two pipes, read in the order they were written.
//!
//! The kernel keeps no order between two pipes, but it can be made to: each pipe takes one write at a time
//! (packets, room for one of them), so that a writer's next write waits until the one before was read; and epoll,
//! edge-triggered, tells of two pipes in the order they were written. What cannot be told apart is two writes of two
//! processes that do not wait for one another.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tokio::io::unix::AsyncFd;

use super::pipes::{self, Pipe};
use crate::linux::limit::Asked;
use crate::linux::watch;

/// The two, of which either may have ended.
pub(super) struct Ordered {
    pipes: [Option<OwnedFd>; 2],
    epoll: AsyncFd<OwnedFd>,
    /// Which are to be read, in order.
    ready: VecDeque<usize>,
}

/// Makes a pipe for [`Ordered`].
pub(super) fn pipe() -> io::Result<Pipe> {
    let pipe = pipes::pipe(libc::O_DIRECT)?;
    // A page, the least there is: one packet.
    pipes::set_size(&pipe.read, 1)?;
    Ok(pipe)
}

impl Ordered {
    /// Reads these two.
    pub fn new(pipes: [OwnedFd; 2]) -> io::Result<Self> {
        // SAFETY: plain integers in, a new descriptor out.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        for (index, pipe) in pipes.iter().enumerate() {
            pipes::set_nonblocking(pipe)?;
            let mut event = libc::epoll_event {
                events: (libc::EPOLLIN | libc::EPOLLET) as u32,
                u64: index as u64,
            };
            // SAFETY: two open descriptors and an event that outlives the call.
            let added = unsafe {
                libc::epoll_ctl(
                    epoll.as_raw_fd(),
                    libc::EPOLL_CTL_ADD,
                    pipe.as_raw_fd(),
                    &raw mut event,
                )
            };
            if added != 0 {
                return Err(Asked::Watch.explain(io::Error::last_os_error()));
            }
        }
        let epoll = watch::readable(epoll)?;
        Ok(Self {
            pipes: pipes.map(Some),
            epoll,
            ready: VecDeque::new(),
        })
    }

    /// Waits for the next piece: which of the two it is from, and its length; `None` at the end of both. Nothing is
    /// lost where the future is dropped. A chunk is at least [`pipes::chunk_size`] long.
    pub async fn read(&mut self, chunk: &mut [u8]) -> Option<(usize, usize)> {
        loop {
            if let Some(piece) = self.read_now(chunk) {
                return Some(piece);
            }
            if self.pipes.iter().all(Option::is_none) {
                return None;
            }
            let Ok(mut guard) = self.epoll.readable().await else {
                return None;
            };
            if !collect(guard.get_inner(), &mut self.ready) {
                guard.clear_ready();
            }
        }
    }

    /// The next piece, where there is one now.
    pub fn read_now(&mut self, chunk: &mut [u8]) -> Option<(usize, usize)> {
        loop {
            while let Some(index) = self.ready.pop_front() {
                let Some(place) = self.pipes.get_mut(index) else {
                    continue;
                };
                let Some(pipe) = place else {
                    continue;
                };
                match pipes::read(pipe, chunk) {
                    Ok(0) => *place = None,
                    Ok(count) => return Some((index, count)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => *place = None,
                }
            }
            if !collect(self.epoll.get_ref(), &mut self.ready) {
                return None;
            }
        }
    }

    /// The two as they are, of usual size: order does not matter any more.
    pub fn into_pipes(self) -> [Option<OwnedFd>; 2] {
        for pipe in self.pipes.iter().flatten() {
            // The kernel refuses it where the user has too many pipes; the pipe stays small then.
            let _ = pipes::set_size(pipe, pipes::USUAL_SIZE);
        }
        self.pipes
    }
}

/// Notes which pipes are to be read, in the order they were written; one at its end once more, for what was written
/// before that. Whether there are any.
fn collect(epoll: &OwnedFd, ready: &mut VecDeque<usize>) -> bool {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 2];
    // SAFETY: an array of as many events as is said; the call does not wait.
    let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 2, 0) };
    let events = events.iter().take(usize::try_from(count).unwrap_or(0));
    // Copied: the fields of the kernel's structure are not aligned.
    let events = events.map(|event| (event.events, event.u64 as usize));
    ready.extend(events.clone().map(|(_, index)| index));
    let ended = events.filter(|(flags, _)| flags & libc::EPOLLHUP as u32 != 0);
    ready.extend(ended.map(|(_, index)| index));
    count > 0
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    fn both() -> (Ordered, [File; 2]) {
        let (first, second) = (pipe().unwrap(), pipe().unwrap());
        let ordered = Ordered::new([first.read, second.read]).unwrap();
        (ordered, [first.write.into(), second.write.into()])
    }

    #[tokio::test]
    async fn bursts_of_two_streams_come_in_the_order_they_were_written() {
        let (mut ordered, [mut out, mut err]) = both();
        let writer = std::thread::spawn(move || {
            let mut wanted = String::new();
            for i in 0..2000 {
                // Runs of one and of several, on either.
                let line = format!("{i}\n");
                let to = if (i / 3) % 2 == 0 || i % 7 == 0 {
                    &mut out
                } else {
                    &mut err
                };
                to.write_all(line.as_bytes()).unwrap();
                wanted.push_str(&line);
            }
            // More than a packet.
            out.write_all(&[b'x'; 100_000]).unwrap();
            err.write_all(b"end").unwrap();
            wanted + &"x".repeat(100_000) + "end"
        });
        let mut chunk = vec![0; pipes::chunk_size()];
        let mut text = Vec::new();
        while let Some((_, count)) = ordered.read(&mut chunk).await {
            text.extend_from_slice(&chunk[..count]);
        }
        assert!(text == writer.join().unwrap().as_bytes());
    }

    #[tokio::test]
    async fn an_end_right_after_the_last_words_is_seen() {
        let (mut ordered, [mut out, err]) = both();
        drop(err);
        out.write_all(b"last").unwrap();
        drop(out);
        let mut chunk = vec![0; pipes::chunk_size()];
        assert_eq!(ordered.read(&mut chunk).await, Some((0, 4)));
        assert_eq!(ordered.read(&mut chunk).await, None);
    }

    #[tokio::test]
    async fn who_reopens_a_stream_loses_nothing() {
        let (mut ordered, [out, err]) = both();
        let path = format!("/proc/self/fd/{}", err.as_raw_fd());
        let mut again = File::options().write(true).open(path).unwrap();
        again.write_all(b"one ").unwrap();
        again.write_all(b"two").unwrap();
        let mut chunk = vec![0; pipes::chunk_size()];
        assert_eq!(ordered.read(&mut chunk).await, Some((1, 7)));
        assert_eq!(&chunk[..7], b"one two");
        assert_eq!(ordered.read_now(&mut chunk), None);
        drop((out, err, again));
        assert_eq!(ordered.read(&mut chunk).await, None);
    }
}
