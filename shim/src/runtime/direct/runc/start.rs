//! runc's `start`: who reads what init writes to the fifo `exec.fifo` has started the container.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use podhook_hooks::linux::watch;

use super::state::State;
use crate::error::{Error, Result};
use crate::host::apart;
use crate::runtime::direct::folder::Folder;
use crate::runtime::direct::{Direct, Unfit, Unstarted};
use crate::runtime::presence;

/// A container that waits for its start.
pub struct Waiting {
    folder: Arc<Folder>,
    init: Arc<OwnedFd>,
    /// Open for reading. With that init goes on.
    fifo: Arc<File>,
    /// As any call of the runtime has it.
    _mark: Option<OwnedFd>,
}

/// What may wait for a disk.
pub fn open(direct: &Direct) -> Result<Waiting, Unfit> {
    let mark = presence::mark(&direct.bundle)?;
    let folder = Folder::open(&direct.folder)?;
    let state = State::read(&folder, &direct.id)?;
    if state.is_paused()? {
        return Err(Unfit::Is("it is paused"));
    }
    let init = Arc::new(state.held_init()?);
    let fifo = Arc::new(folder.fifo(OFlag::O_RDONLY)?);
    Ok(Waiting {
        folder: Arc::new(folder),
        init,
        fifo,
        _mark: mark,
    })
}

impl Waiting {
    /// Goes on where [`open`] has ended.
    pub async fn read(self) -> Result<(), Unstarted> {
        let unstarted = |why| Unstarted {
            why,
            fifo: Some(Arc::clone(&self.fifo)),
        };
        self.read_to_end().await.map_err(unstarted)
    }

    /// Reads what init writes, to the end, which comes when init closes the fifo, at the latest as it executes the
    /// entrypoint. The fifo is removed when there is something to read and before it is read: up to then the program
    /// can do it all.
    async fn read_to_end(&self) -> Result<(), Unfit> {
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
        let removed = apart::start(move || folder.remove_fifo());
        removed.await.map_err(Error::lower)??;
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
