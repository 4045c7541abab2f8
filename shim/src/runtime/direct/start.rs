//! runc's `start`: who reads what init writes to the fifo `exec.fifo` has started the container.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;

use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use podhook_hooks::linux::watch;

use super::state::{State, folder};
use super::{Direct, Unfit};
use crate::error::{Error, Result};
use crate::host::apart;
use crate::runtime::presence;

const FIFO: &str = "exec.fifo";

/// A start that is the program's.
pub struct Unstarted {
    pub why: Unfit,
    /// To be kept until the program has ended: what init has written, or is about to, stays in it for the program, and
    /// init would die of a fifo without a reader.
    pub fifo: Option<Arc<File>>,
}

impl From<Unfit> for Unstarted {
    fn from(why: Unfit) -> Self {
        Self { why, fifo: None }
    }
}

/// A container that waits for its start.
struct Waiting {
    folder: Arc<OwnedFd>,
    init: Arc<OwnedFd>,
    /// Open for reading. With that init goes on.
    fifo: Arc<File>,
    /// As any call of the runtime has it.
    _mark: Option<OwnedFd>,
}

impl Direct {
    /// Starts the container. As with runc init is about to become the entrypoint then, or has ended.
    pub async fn start(&self) -> Result<(), Unstarted> {
        let direct = self.clone();
        let opened = apart::start(move || direct.open()).await;
        let waiting = opened.map_err(|e| Unfit::from(Error::lower(e)))??;
        let unstarted = |why| Unstarted {
            why,
            fifo: Some(Arc::clone(&waiting.fifo)),
        };
        waiting.read().await.map_err(unstarted)
    }

    /// What may wait for a disk.
    fn open(&self) -> Result<Waiting, Unfit> {
        self.check()?;
        let mark = presence::mark(&self.bundle)?;
        let folder = folder(&self.folder)?;
        let state = State::read(&folder, &self.id)?;
        if state.is_paused()? {
            return Err(Unfit::Is("it is paused"));
        }
        let init = Arc::new(state.init()?);
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(folder.as_fd(), FIFO, flags, Mode::empty());
        let fifo = File::from(opened.map_err(|e| Error::io("open", FIFO)(e.into()))?);
        let kind = fifo
            .metadata()
            .map_err(Error::io("stat", FIFO))?
            .file_type();
        if !kind.is_fifo() {
            return Err(Unfit::Is("exec.fifo is no fifo"));
        }
        Ok(Waiting {
            folder: Arc::new(folder),
            init,
            fifo: Arc::new(fifo),
            _mark: mark,
        })
    }
}

impl Waiting {
    /// Reads what init writes, to the end, which comes when init closes the fifo, at the latest as it executes the
    /// entrypoint. The fifo is removed when there is something to read and before it is read: up to then the program
    /// can do it all.
    async fn read(&self) -> Result<(), Unfit> {
        let fifo = watch::readable(Arc::clone(&self.fifo));
        let fifo = fifo.map_err(Error::sys("watch the fifo of a container"))?;
        let init = watch::readable(Arc::clone(&self.init));
        let init = init.map_err(Error::sys("watch the init of a container"))?;
        loop {
            let has_ended = tokio::select! {
                ready = fifo.readable() => {
                    ready.map_err(Error::sys("wait for the fifo of a container"))?.clear_ready();
                    false
                }
                _ = init.readable() => true,
            };
            let found = self.look()?;
            if found.contains(PollFlags::POLLIN) {
                break;
            }
            if has_ended {
                return Err(Unfit::Is("its init has ended"));
            }
            if found.contains(PollFlags::POLLHUP) {
                return Err(Unfit::Is("somebody else starts it"));
            }
        }
        let folder = Arc::clone(&self.folder);
        let removed =
            apart::start(move || unlinkat(folder.as_fd(), FIFO, UnlinkatFlags::NoRemoveDir));
        let removed = removed.await.map_err(Error::lower)?;
        removed.map_err(|e| Error::io("remove", FIFO)(e.into()))?;
        let mut buffer = [0; 64];
        loop {
            match (&*self.fifo).read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => match fifo.readable().await {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(_) => return Ok(()),
                },
                // It is started: something was there to read.
                Err(_) => return Ok(()),
            }
        }
    }

    /// What poll(2) says of the fifo.
    fn look(&self) -> Result<PollFlags> {
        let mut one = [PollFd::new(self.fifo.as_fd(), PollFlags::POLLIN)];
        poll(&mut one, PollTimeout::ZERO).map_err(Error::sys("poll"))?;
        Ok(one
            .first()
            .and_then(PollFd::revents)
            .unwrap_or(PollFlags::empty()))
    }
}
