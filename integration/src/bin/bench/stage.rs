//! The private containerd that everything is measured on, with every shim.

use std::sync::Arc;
use std::time::Duration;

use podhook_integration::containerd::{Features, remains};
use podhook_integration::{Containerd, Image, Node, ShimKind, wait};

use crate::Fallible;
use crate::cpu::{self, Account, Accounts, Used};
use crate::pods::Pods;
use crate::sheet::Sheet;
use crate::shims::{self, Shim};
use crate::spot::Spot;

/// The containerd and the accounts of CPU time.
#[derive(Debug)]
pub struct Stage {
    pub spot: Spot,
    containerd: Arc<Containerd>,
    accounts: Accounts,
    containers: Account,
    shims: Vec<Shim>,
}

impl Stage {
    /// Starts it without debug logs and without a subscriber to its events, its state on a tmpfs. A shim that cannot make
    /// a pod there is said to be missing.
    ///
    /// # Errors
    /// When the machine lacks something, or the original makes no pod.
    pub fn open(spot: Spot, sheet: &mut Sheet) -> Fallible<Self> {
        let accounts = Accounts::open()?;
        let opened = Self::start(spot, &accounts, sheet);
        match opened {
            Ok((containerd, shims)) => Ok(Self {
                spot,
                containers: Account::named(containerd.id())?,
                containerd,
                accounts,
                shims,
            }),
            Err(error) => {
                accounts.close();
                Err(error)
            }
        }
    }

    fn start(
        spot: Spot,
        accounts: &Accounts,
        sheet: &mut Sheet,
    ) -> Fallible<(Arc<Containerd>, Vec<Shim>)> {
        let features = Features {
            state_in_memory: true,
            quiet: true,
            ..Features::default()
        };
        let containerd = Containerd::start_featuring(spot.place(), ShimKind::Runc, features)?;
        containerd.stop()?;
        let path = containerd.dir().join("config.toml");
        let published = shims::add_published(&containerd, &path);
        containerd.up()?;
        containerd.events().stop();
        accounts.leave_node()?;
        let cri = containerd.cri()?;
        for image in [Image::Busybox, Image::Pause] {
            containerd.import("k8s.io", image)?;
            wait::until_true("CRI to know the image", wait::SOON, || {
                cri.has_image(image.reference()).unwrap_or(false)
            })?;
        }
        let mut able = Vec::new();
        for shim in Shim::ALL {
            let tried = match (shim, &published) {
                (Shim::Rust, Err(reason)) => Err(reason.to_string().into()),
                _ => Pods::new(&containerd)?.trial(&containerd, shim),
            };
            match tried {
                Ok(()) => able.push(shim),
                Err(error) if shim == Shim::Rust => sheet.missing(shim.name(), &error),
                Err(error) => return Err(format!("{}: {error}", shim.name()).into()),
            }
        }
        Ok((Arc::new(containerd), able))
    }

    /// The containerd.
    #[must_use]
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// The shims that work here.
    #[must_use]
    pub fn shims(&self) -> &[Shim] {
        &self.shims
    }

    /// The same with pods of each kind, and podhook's without a pause container where containerd can make them.
    #[must_use]
    pub fn of_pods(&self, shims: &[Shim]) -> Vec<Shim> {
        let pauseless = ShimKind::Pauseless.is_for(self.spot.generation);
        let pauseless = pauseless.then_some(Shim::Pauseless);
        shims.iter().copied().chain(pauseless).collect()
    }

    /// podhook and the original.
    #[must_use]
    pub fn pair(&self) -> [Shim; 2] {
        [Shim::Podhook, Shim::Original]
    }

    /// What is made by CRI.
    ///
    /// # Errors
    /// Where there is no connection.
    pub fn pods(&self) -> Fallible<Pods<'_>> {
        Pods::new(&self.containerd)
    }

    /// The node of tests, with the original.
    #[must_use]
    pub fn node(&self) -> Node {
        Node::new(Arc::clone(&self.containerd), ShimKind::Runc)
    }

    /// CPU time of everything so far.
    ///
    /// # Errors
    /// Where the machine accounts none.
    pub fn used(&self) -> Fallible<Used> {
        let pid = self.containerd.pid().ok_or("containerd has ended")?;
        let containerd = cpu::of_process(pid)?;
        Ok(Used {
            client: self.accounts.bench.used()?,
            containerd,
            shim: self.accounts.node.used()?.saturating_sub(containerd),
            // Made with the first container.
            container: self.containers.used().unwrap_or(Duration::ZERO),
        })
    }

    /// The process of the shim that was started for a pod.
    ///
    /// # Errors
    /// When there is none.
    pub fn shim_of(&self, pod: &str) -> Fallible<i32> {
        let shims = remains::shims(&self.containerd.address());
        let found = shims.iter().find(|shim| shim.id == pod);
        Ok(found.ok_or_else(|| format!("no shim of {pod}"))?.pid)
    }

    /// Ends and removes everything.
    pub fn close(&self) {
        self.containerd.destroy();
        self.accounts.close();
    }
}
