//! The node a test runs on: one containerd, one shim, and what the test made there.

mod container;
mod docker;
mod pod;
mod pod_container;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, fs};

use crate::containerd::remains::{self, Key};
use crate::containerd::{Containerd, Error};
use crate::ctr::Ctr;
use crate::events::Events;
use crate::place::Place;
use crate::shim::{ShimKind, podhook_shim};
use crate::tasks::{self, Tasks};

pub use container::{Container, ContainerBuilder, Starting, held};
pub use docker::DockerContainer;
pub use pod::{Pod, PodBuilder};
pub use pod_container::{PodContainer, PodContainerBuilder};

/// A containerd with one of its shims, as one test sees it.
pub struct Node {
    containerd: Arc<Containerd>,
    shim: ShimKind,
    made: Mutex<BTreeSet<Key>>,
}

impl Node {
    /// A node on a containerd that other tests may use too.
    #[must_use]
    pub fn new(containerd: Arc<Containerd>, shim: ShimKind) -> Self {
        Self {
            containerd,
            shim,
            made: Mutex::default(),
        }
    }

    /// The containerd.
    #[must_use]
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// The shim the test is for.
    #[must_use]
    pub fn shim(&self) -> ShimKind {
        self.shim
    }

    /// The generation, the shim and the OCI runtime.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            shim: self.shim,
            ..self.containerd.place()
        }
    }

    /// ctr in the instance's own namespace, where [`Self::container`]s live.
    #[must_use]
    pub fn ctr(&self) -> Ctr {
        self.containerd.ctr()
    }

    /// The task API in the same namespace.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn tasks(&self) -> Result<Tasks, tasks::Error> {
        Tasks::connect(&self.containerd.address(), self.ctr().namespace())
    }

    /// containerd's events.
    #[must_use]
    pub fn events(&self) -> &Events {
        self.containerd.events()
    }

    /// A container to be run with ctr; its id starts with `name` and is unique here.
    #[must_use]
    pub fn container(&self, name: &str) -> ContainerBuilder<'_> {
        ContainerBuilder::new(self, self.unique(name))
    }

    /// A container that has the id of one that is gone, or one that nobody else has.
    #[must_use]
    pub fn container_called(&self, id: &str) -> ContainerBuilder<'_> {
        ContainerBuilder::new(self, id.to_owned())
    }

    /// A pod to be run through CRI with the shim's runtime handler.
    #[must_use]
    pub fn pod(&self, name: &str) -> PodBuilder<'_> {
        PodBuilder::new(self, self.unique(name))
    }

    fn unique(&self, name: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Checks that the shim that serves `id` is the one the test is for: a configuration that
    /// containerd ignores would test the original instead.
    fn check_shim(&self, namespace: &str, id: &str) -> Result<(), String> {
        let wanted = match self.shim {
            ShimKind::Runc => self
                .containerd
                .generation()
                .program("containerd-shim-runc-v2")
                .map_err(|e| e.to_string())?,
            _ => podhook_shim().map_err(|e| e.to_string())?,
        };
        let shims = remains::shims(&self.containerd.address());
        // A task that has ended already may be without its shim.
        let Some(shim) = shims
            .iter()
            .find(|shim| shim.namespace == namespace && shim.id == id)
        else {
            return Ok(());
        };
        // By the file, not its name: the shim may run from another mount of it.
        let exe = format!("/proc/{}/exe", shim.pid);
        let Ok(used) = fs::metadata(&exe) else {
            return Ok(());
        };
        let file =
            fs::metadata(&wanted).map_err(|error| format!("{}: {error}", wanted.display()))?;
        if (used.dev(), used.ino()) == (file.dev(), file.ino()) {
            return Ok(());
        }
        Err(format!(
            "{id} is served by {}, not by {}",
            fs::read_link(exe).unwrap_or_default().display(),
            wanted.display()
        ))
    }

    /// Remembers a container, for [`Self::finish`].
    fn remember(&self, namespace: &str, id: &str) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert((namespace.to_owned(), id.to_owned()));
    }

    /// What containerd and the shims logged about the test's containers, for the message of a failure.
    #[must_use]
    pub fn log(&self) -> String {
        const LINES: usize = 40;
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let log = self.containerd.log();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| made.iter().any(|(_, id)| line.contains(id)))
            .collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Checks that nothing is left of the test's containers, which it must have deleted by now (their
    /// handles do so when dropped).
    ///
    /// # Errors
    /// [`Error::Leak`] with what is left.
    pub fn finish(&self) -> Result<(), Error> {
        let made = self
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        self.containerd.expect_gone_of(&made, self.shim)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.containerd.version(), self.shim)
    }
}
