//! A registry on the node's address with the images of the tests: manifests are pulled from there as they stand,
//! whatever registry they name.

use super::Error;
use super::daemon::Daemon;
use crate::containerd::Containerd;
use crate::image::Image;
use crate::registry::Registry;
use crate::wait::{self, SOON};

const PORT: u16 = 5000;

/// Starts and fills it, for the node's containerd.
pub(super) fn start(daemon: &Daemon, containerd: &Containerd) -> Result<(), Error> {
    let registry = Registry::at(format!("{}:{PORT}", containerd.node_address()))?;
    daemon.start(registry.server(), containerd.dir())?;
    wait::until_true("the registry to listen", SOON, || registry.listens()).map_err(|what| {
        Error::TooSlow {
            what,
            more: daemon.log_end(),
        }
    })?;
    for image in [Image::Nginx, Image::Busybox] {
        let (_, name) = image.reference().split_once('/').unwrap_or_default();
        registry.push(image, name)?;
    }
    Ok(registry.serves(containerd)?)
}
