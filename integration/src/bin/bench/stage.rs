//! The private containerd that everything is measured on, with both shims.

use std::fs;
use std::sync::Arc;

use podhook_integration::containerd::remains;
use podhook_integration::{Containerd, Generation, Node, ShimKind};

use crate::Fallible;
use crate::cpu::{Account, Accounts};

/// The containerd and the accounts of CPU time.
#[derive(Debug)]
pub struct Stage {
    containerd: Arc<Containerd>,
    accounts: Accounts,
}

impl Stage {
    /// Starts it without debug logs, and without a subscriber to its events.
    ///
    /// # Errors
    /// When the machine lacks something.
    pub fn open(generation: Generation) -> Fallible<Self> {
        let accounts = Accounts::open()?;
        let started = Self::start(generation, &accounts);
        match started {
            Ok(containerd) => Ok(Self {
                containerd,
                accounts,
            }),
            Err(error) => {
                accounts.close();
                Err(error)
            }
        }
    }

    fn start(generation: Generation, accounts: &Accounts) -> Fallible<Arc<Containerd>> {
        // Under the original shim's name nothing stands in: both shims are there.
        let containerd = Containerd::start(generation, ShimKind::Runc)?;
        containerd.stop()?;
        let path = containerd.dir().join("config.toml");
        let config = fs::read_to_string(&path)?;
        fs::write(
            &path,
            config.replace("level = \"debug\"", "level = \"warn\""),
        )?;
        containerd.up()?;
        containerd.events().stop();
        accounts.leave_node()?;
        Ok(Arc::new(containerd))
    }

    /// The containerd.
    #[must_use]
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// The node with one of the shims.
    #[must_use]
    pub fn node(&self, shim: ShimKind) -> Node {
        Node::new(Arc::clone(&self.containerd), shim)
    }

    /// CPU time of what this program runs itself, the processes in the containers included.
    ///
    /// # Errors
    /// Where the machine accounts none.
    pub fn direct(&self) -> Fallible<[Account; 2]> {
        let containers = Account::named(self.containerd.id())?;
        Ok([self.accounts.bench.clone(), containers])
    }

    /// CPU time of everything: this program as the client, containerd, the shims, the OCI runtime, the
    /// processes in the containers.
    ///
    /// # Errors
    /// Where the machine accounts none.
    pub fn everything(&self) -> Fallible<[Account; 3]> {
        let [bench, containers] = self.direct()?;
        Ok([bench, self.accounts.node.clone(), containers])
    }

    /// The process of the shim that was started for `id`.
    ///
    /// # Errors
    /// When there is none.
    pub fn shim_of(&self, namespace: &str, id: &str) -> Fallible<i32> {
        let shims = remains::shims(&self.containerd.address());
        let found = shims
            .iter()
            .find(|shim| shim.namespace == namespace && shim.id == id);
        Ok(found.ok_or_else(|| format!("no shim of {id}"))?.pid)
    }

    /// Ends and removes everything.
    pub fn close(&self) {
        self.containerd.destroy();
        self.accounts.close();
    }
}
