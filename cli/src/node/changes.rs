//! Waiting for something to change in folders: the kernel tells, and from time to time one looks without being told.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use podhook_hooks::linux::limit::Asked;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How often to look without being told: for what the kernel cannot watch, or was not asked to yet.
const POLL: Duration = Duration::from_secs(1);

/// inotify on folders.
#[derive(Debug)]
pub(crate) struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    pub(crate) fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|e| Asked::Inotify.explain(e.into()))?;
        // SAFETY: an OwnedFd is the same open descriptor until it is dropped, with the AsyncFd.
        let inotify = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) };
        Ok(Self(inotify.map_err(|e| e.into_parts().1)?))
    }

    /// Watches what comes into a folder and goes. Watching twice is watching once.
    pub(crate) fn names(&self, folder: &Path) {
        self.add(folder, WatchFlags::empty());
    }

    /// And what is written to a file in it.
    pub(crate) fn content(&self, folder: &Path) {
        self.add(folder, WatchFlags::MODIFY);
    }

    fn add(&self, folder: &Path, more: WatchFlags) {
        let events = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        // Gone already, or too many watches on this node: the poll sees it.
        let _ = inotify::add_watch(&self.0, folder, events | more);
    }

    /// Waits for a change, or for some time.
    pub(crate) async fn wait(&mut self) -> io::Result<()> {
        let Ok(ready) = tokio::time::timeout(POLL, self.0.readable()).await else {
            return Ok(());
        };
        let mut ready = ready?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        // What has changed is found by looking: only that something has is of interest.
        let mut events = inotify::Reader::new(self.0.get_ref(), &mut buffer);
        while events.next().is_ok() {}
        ready.clear_ready();
        Ok(())
    }
}
