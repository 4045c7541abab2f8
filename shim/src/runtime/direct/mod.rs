//! What the calls `start` and `delete` of runc and crun do, without their program, whose start alone takes longer.
//!
//! A call is done here only where all of it is known: a runtime that was tested, a note of the container that is wholly
//! understood, and the plain case. Anything else is left to the program, which finds the container as the runtime itself
//! would have left it at that point, and whose words users get. `create` is always the program's.

mod crun;
mod elf;
mod folder;
mod init;
mod program;
mod runc;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cgroup::Noted;
use crate::containerd::options::Options;
use crate::error::Error;
use crate::host::{apart, bundle};
use program::Kind;

/// Between two tries where processes are still dying in a cgroup. The program takes its time after that, and says
/// what is left.
const PAUSES_MS: [u64; 6] = [1, 2, 4, 8, 16, 32];

/// Why Delete is the program's with the systemd driver.
const HAS_SCOPE: &str = "its cgroups are systemd's";
const HAS_RDT_GROUP: &str = "it may have an Intel RDT group";
const HAS_POSTSTOP: &str = "it has a poststop hook";
/// The runtime kills what is left in the container's cgroup then.
const NO_PID_NAMESPACE: &str = "it has no pid namespace of its own";

/// Why a call is left to the program.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("{0}")]
    Is(&'static str),
    #[error("there are processes in its cgroups")]
    Busy,
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A start that is the program's.
pub struct Unstarted {
    pub why: Unfit,
    /// To be kept until the program has ended: what runc's init has written, or is about to, stays in it for the program,
    /// and init would die of a fifo without a reader.
    pub fifo: Option<Arc<File>>,
}

impl From<Unfit> for Unstarted {
    fn from(why: Unfit) -> Self {
        Self { why, fifo: None }
    }
}

/// A container of the runtime's.
#[derive(Debug, Clone)]
pub struct Direct {
    binary: String,
    id: String,
    /// Where the runtime notes it.
    folder: PathBuf,
    bundle: PathBuf,
    /// Its cgroups are systemd's, whose scope Delete would have to stop.
    has_scope: bool,
}

impl Direct {
    /// None where every call is the program's. `root` is the runtime's.
    pub fn new(
        options: &Options,
        binary: &str,
        root: &Path,
        id: &str,
        bundle: &Path,
    ) -> Option<Self> {
        (options.direct_calls && bundle::is_plain(id)).then(|| Self {
            binary: binary.to_owned(),
            id: id.to_owned(),
            folder: root.join(id),
            bundle: bundle.to_owned(),
            has_scope: options.systemd_cgroup,
        })
    }

    /// Starts the container. As with the program init is about to become the entrypoint then, or has ended.
    pub async fn start(&self) -> Result<(), Unstarted> {
        let direct = self.clone();
        let begun = apart::start(move || direct.begin()).await;
        match begun.map_err(|e| Unfit::from(Error::lower(e)))?? {
            Some(waiting) => waiting.read().await,
            None => Ok(()),
        }
    }

    /// What may wait for a disk. With runc there is more to do then.
    fn begin(&self) -> Result<Option<runc::Waiting>, Unfit> {
        match program::kind(&self.binary)? {
            Kind::Runc => runc::open(self).map(Some),
            Kind::Crun => crun::start(self).map(|()| None),
        }
    }

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

    fn remove(&self) -> Result<(), Unfit> {
        match program::kind(&self.binary)? {
            Kind::Runc => runc::remove(self),
            Kind::Crun => crun::remove(self),
        }
    }
}

fn remove_cgroups(cgroups: &Noted) -> Result<(), Unfit> {
    match cgroups.remove() {
        Err((_, e)) if e.kind() == io::ErrorKind::ResourceBusy => Err(Unfit::Busy),
        Err((dir, e)) => Err(Error::io("remove cgroup", dir)(e).into()),
        Ok(()) => Ok(()),
    }
}
