//! A registry on the node's address with the images of the tests: manifests are pulled from there as they stand,
//! whatever registry they name.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use super::daemon::Daemon;
use super::error::{Error, io_error};
use crate::command;
use crate::containerd::Containerd;
use crate::generation::upstream;
use crate::image::Image;
use crate::wait::{self, SOON};

const PORT: u16 = 5000;

/// Starts and fills it, and tells containerd, which is configured for that, to take every image from it.
pub(super) fn start(daemon: &Daemon, containerd: &Containerd) -> Result<(), Error> {
    let crane = upstream("crane", "crane")?;
    let address = format!("{}:{PORT}", containerd.node_address());
    let mut serve = Command::new(&crane);
    serve.args(["registry", "serve", "--address", &address]);
    daemon.start(serve, containerd.dir())?;
    let listens = || TcpStream::connect(&address).is_ok();
    wait::until_true("the registry to listen", SOON, listens).map_err(|what| Error::TooSlow {
        what,
        more: daemon.log_end(),
    })?;
    for image in [Image::Nginx, Image::Busybox] {
        let (_, name) = image.reference().split_once('/').unwrap_or_default();
        let mut push = Command::new(&crane);
        push.args(["push", "--insecure"])
            .arg(image.archive()?)
            .arg(format!("{address}/{name}"));
        command::run(&mut push, None, Duration::from_secs(60))?.success()?;
    }
    let folder = containerd.dir().join("certs.d/_default");
    fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
    let hosts = folder.join("hosts.toml");
    fs::write(
        &hosts,
        format!("[host.\"http://{address}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"),
    )
    .map_err(io_error("write", &hosts))
}
