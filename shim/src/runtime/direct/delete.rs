//! runc's `delete` of a container that has ended: its cgroups and its state are removed.

use std::io;
use std::time::Duration;

use super::state::{HAS_SCOPE, State, folder};
use super::{Direct, Unfit};
use crate::error::Error;
use crate::host::{apart, file};
use crate::runtime::presence;

/// Between two tries where processes are still dying in a cgroup. The program takes its time after that, and says
/// what is left.
const PAUSES_MS: [u64; 6] = [1, 2, 4, 8, 16, 32];

impl Direct {
    /// Deletes the container. What could not be done, or is not to be done here, is left for the program.
    pub async fn delete(&self) -> Result<(), Unfit> {
        if self.has_scope {
            // Known without a look at its state, which says the same.
            return Err(Unfit::Is(HAS_SCOPE));
        }
        let mut pauses = PAUSES_MS.into_iter().map(Duration::from_millis);
        loop {
            let direct = self.clone();
            let removed = apart::start(move || direct.remove()).await;
            match (removed.map_err(Error::lower)?, pauses.next()) {
                (Err(Unfit::Busy), Some(pause)) => tokio::time::sleep(pause).await,
                (removed, _) => return removed,
            }
        }
    }

    /// In runc's order: the state is there as long as something else is.
    fn remove(&self) -> Result<(), Unfit> {
        self.check()?;
        let _mark = presence::mark(&self.bundle)?;
        let state = State::read(&folder(&self.folder)?, &self.id)?;
        if state.is_alive() {
            return Err(Unfit::Is("its init is alive"));
        }
        if let Some(more) = state.to_do_at_end() {
            return Err(Unfit::Is(more));
        }
        if state.is_paused()? {
            return Err(Unfit::Is("it is paused"));
        }
        match state.cgroups.remove() {
            Ok(()) => Ok(file::remove_tree(&self.folder)?),
            Err((_, e)) if e.kind() == io::ErrorKind::ResourceBusy => Err(Unfit::Busy),
            Err((dir, e)) => Err(Error::io("remove cgroup", dir)(e).into()),
        }
    }
}
