//! Output to a fifo that containerd reads.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use podhook_hooks::forks::Before;
use podhook_hooks::linux::limit::Asked;
use tokio::io::AsyncRead;
use tokio::net::unix::pipe::{self, Sender};
use tokio::task::JoinSet;

use crate::error::{Error, Result, is_exhaustion};

/// The pauses between two looks for a reader.
const LOOK_MIN: Duration = Duration::from_millis(1);
const LOOK_MAX: Duration = Duration::from_millis(100);

/// Copies `from` to the fifo at `path` until `from` ends, and what it ended with until it is read.
///
/// No open waits: the shim has the fifo open for reading itself, by the same descriptor, so that a containerd that is
/// not there yet, or restarts, ends nothing, and output queues in the fifo.
///
/// containerd opens its end when it gets round to it. A process may have ended by then; a fifo that was
/// closed already would have lost what it printed, and containerd would wait for another writer for ever.
/// So the end is kept open until containerd has opened its own, or the copy is aborted. A fork that is about to join
/// a container has what this process had open: its copy of the end for reading is no reader.
pub fn copy<R>(copies: &mut JoinSet<()>, mut from: R, path: &Path) -> Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    // Kept until the other is open: a reader must not see an end.
    let writer = match writer(path) {
        Ok(writer) => Some(writer),
        // Nobody reads yet.
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) => None,
        Err(e) => return Err(Error::io("open", path)(e)),
    };
    let mut to = pipe::OpenOptions::new()
        .read_write(true)
        .open_sender(path)
        .map_err(|e| Error::io("open", path)(Asked::Watch.explain(e)))?;
    let attended = writer.is_some();
    drop(writer);
    let path = path.to_owned();
    copies.spawn(async move {
        match super::copy::copy(&mut from, &mut to).await {
            Ok(()) => {}
            // A terminal that hangs up.
            Err(e) if e.raw_os_error() == Some(libc::EIO) => {}
            Err(e) => log::warn!("copy to {}: {e}", path.display()),
        }
        drop(from);
        let Some(to) = only_writing(to, &path).await else {
            return;
        };
        if !attended || has_unread(&to) {
            wait_for_reader(&to).await;
        }
    });
    Ok(())
}

fn writer(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

/// Stops to read the fifo, so that it can be seen whether somebody else does. There is a moment with one descriptor
/// more, which may have to be waited for.
async fn only_writing(to: Sender, path: &Path) -> Option<File> {
    // By its descriptor: containerd may have removed the name.
    let own = format!("/proc/self/fd/{}", to.as_fd().as_raw_fd());
    loop {
        match writer(Path::new(&own)) {
            Ok(writer) => return Some(writer),
            Err(e) if is_exhaustion(&e) => tokio::time::sleep(LOOK_MAX).await,
            Err(e) => {
                log::warn!("open {}: {e}", path.display());
                return None;
            }
        }
    }
}

async fn wait_for_reader(to: &File) {
    let mut pause = LOOK_MIN;
    // Since the last of them the only ends for reading are those of others.
    let forks = Before::now();
    while !(forks.are_over() && has_reader(to)) {
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LOOK_MAX);
    }
}

fn has_reader(to: &File) -> bool {
    let mut poll = libc::pollfd {
        fd: to.as_fd().as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // SAFETY: one pollfd that outlives the call, which does not wait.
    unsafe { libc::poll(&mut poll, 1, 0) };
    // What poll(2) says of a pipe's writing end without a reader.
    poll.revents & libc::POLLERR == 0
}

fn has_unread(to: &File) -> bool {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes an int, which outlives the call.
    let ret = unsafe { libc::ioctl(to.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    ret == 0 && count > 0
}

#[cfg(test)]
mod tests {
    use std::{fs, io, thread};

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use podhook_hooks::forks::Fork;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn fifo() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        (dir, path)
    }

    fn reader(path: &Path) -> thread::JoinHandle<String> {
        let path = path.to_owned();
        thread::spawn(move || fs::read_to_string(path).unwrap())
    }

    /// Lets every task run until it waits.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    #[tokio::test]
    async fn a_reader_that_comes_after_the_end_gets_everything_and_the_end() {
        for text in [&b"said"[..], b""] {
            let (_dir, path) = fifo();
            let mut copies = JoinSet::new();
            copy(&mut copies, text, &path).unwrap();
            settle().await;
            assert!(copies.try_join_next().is_none(), "ended without a reader");
            let reader = reader(&path);
            timeout(SOON, copies.join_next()).await.unwrap();
            assert_eq!(reader.join().unwrap().as_bytes(), text);
        }
    }

    #[tokio::test]
    async fn a_forks_copy_of_the_shims_own_end_is_no_reader() {
        let (_dir, path) = fifo();
        let mut copies = JoinSet::new();
        copy(&mut copies, &b"said"[..], &path).unwrap();
        let fork = Fork::new();
        let mut inherited = OpenOptions::new();
        let inherited = inherited.read(true).write(true).open(&path).unwrap();
        settle().await;
        assert!(copies.try_join_next().is_none(), "ended without a reader");
        drop(inherited);
        drop(fork);
        settle().await;
        assert!(copies.try_join_next().is_none(), "ended without a reader");
        let reader = reader(&path);
        timeout(SOON, copies.join_next()).await.unwrap();
        assert_eq!(reader.join().unwrap(), "said");
    }

    #[tokio::test]
    async fn the_copy_ends_with_its_source_where_there_is_a_reader() {
        let (_dir, path) = fifo();
        let reading = reader(&path);
        // The thread is in open(2) once this succeeds.
        let mut waiting = 0;
        while pipe::OpenOptions::new().open_sender(&path).is_err() {
            waiting += 1;
            assert!(waiting < 6000);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // That was the writer it waited for: it has read the end.
        assert_eq!(reading.join().unwrap(), "");
        let reading = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .unwrap();
        let mut copies = JoinSet::new();
        copy(&mut copies, &b"said"[..], &path).unwrap();
        timeout(SOON, copies.join_next()).await.unwrap();
        assert_eq!(io::read_to_string(reading).unwrap(), "said");
    }

    #[tokio::test]
    async fn an_aborted_copy_lets_go_of_the_fifo() {
        let (_dir, path) = fifo();
        let mut copies = JoinSet::new();
        copy(&mut copies, &b"said"[..], &path).unwrap();
        settle().await;
        copies.shutdown().await;
        let again = pipe::OpenOptions::new().open_sender(&path).unwrap_err();
        assert_eq!(again.raw_os_error(), Some(libc::ENXIO));
    }

    #[tokio::test]
    async fn what_a_reader_has_left_is_kept_for_the_next() {
        let (_dir, path) = fifo();
        let first = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .unwrap();
        let mut copies = JoinSet::new();
        copy(&mut copies, &b"said"[..], &path).unwrap();
        drop(first);
        settle().await;
        let reader = reader(&path);
        timeout(SOON, copies.join_next()).await.unwrap();
        assert_eq!(reader.join().unwrap(), "said");
    }
}
