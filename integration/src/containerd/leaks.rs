//! The check that containers leave nothing behind.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Containerd, Error, remains};
use crate::driver;
use crate::wait::{self, SOON};

impl Containerd {
    /// Every container that ever had a task here.
    #[must_use]
    pub fn known_containers(&self) -> BTreeSet<remains::Key> {
        let created = self
            .events
            .all()
            .into_iter()
            .filter(|event| event.topic == "/tasks/create");
        created
            .map(|event| (event.namespace.clone(), event.container_id().to_owned()))
            .collect()
    }

    /// Waits until nothing of `containers` is left: bundle, shim, socket, cgroup, runc state.
    ///
    /// # Errors
    /// [`Error::Leak`] with what is still there after ten seconds.
    pub fn expect_gone(&self, containers: &BTreeSet<remains::Key>) -> Result<(), Error> {
        let mut left = Vec::new();
        let gone = wait::until_true("clean-up", SOON, || {
            left = self.left_of(containers);
            left.is_empty()
        });
        gone.map_err(|_| Error::Leak(left))
    }

    /// The cgroups of a container, of ctr's as of CRI's, in all hierarchies, with those below.
    #[must_use]
    pub fn cgroups(&self, id: &str) -> Vec<PathBuf> {
        let key = (self.id().to_owned(), id.to_owned());
        let own = driver::cgroups(self.id(), &key);
        own.iter().flat_map(|own| remains::tree(own)).collect()
    }

    fn left_of(&self, containers: &BTreeSet<remains::Key>) -> Vec<String> {
        let mut left = Vec::new();
        let shims = remains::shims(&self.address());
        for key in containers {
            let (namespace, id) = key;
            let bundle = self.bundle(namespace, id);
            left.extend(
                self.mounts_below(&bundle)
                    .iter()
                    .map(|mount| format!("mount {}", mount.display())),
            );
            for path in [
                bundle,
                remains::runc_state(key),
                remains::socket(&self.address(), key),
            ] {
                if path.symlink_metadata().is_ok() {
                    left.push(path.display().to_string());
                }
            }
            left.extend(
                driver::cgroups(self.id(), key)
                    .iter()
                    .map(|path| format!("cgroup {}", path.display())),
            );
            left.extend(
                shims
                    .iter()
                    .filter(|shim| shim.namespace == *namespace && shim.id == *id)
                    .map(|shim| format!("process {} {}", shim.pid, shim.command)),
            );
        }
        left
    }

    /// Checks that nothing is left of any container it ever had, and stops it.
    ///
    /// # Errors
    /// [`Error::Leak`] when something is left.
    pub fn close(&self) -> Result<(), Error> {
        self.stop_docker();
        self.expect_gone(&self.known_containers())?;
        let mut left: Vec<_> = remains::shims(&self.address())
            .iter()
            .map(|s| format!("process {} {}", s.pid, s.command))
            .collect();
        let state = self.dir.join("state");
        left.extend(
            self.mounts_below(&state)
                .iter()
                .map(|mount| format!("mount {}", mount.display())),
        );
        if left.is_empty() {
            self.stop()
        } else {
            Err(Error::Leak(left))
        }
    }
}
