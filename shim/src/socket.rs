//! The shim's socket: where it is, who makes it, who may connect.

use std::{
    fs::{self, DirBuilder},
    io,
    os::{
        fd::AsRawFd,
        unix::{fs::DirBuilderExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use containerd_shim_protos::ttrpc::r#async::transport::Listener;
use futures::stream;
use nix::{
    errno::Errno,
    sys::{
        socket::{self, AddressFamily, SockFlag, SockType, UnixAddr},
        stat::{Mode, umask},
    },
};

use crate::{
    clients::Clients,
    error::{Error, Result},
};

/// The path behind a `unix://` address.
pub fn path(address: &str) -> &Path {
    Path::new(address.strip_prefix("unix://").unwrap_or(address))
}

/// What became of the address.
pub enum Bound {
    /// This process listens there now.
    New(UnixListener),
    /// A shim of the same group listens there and takes this container too.
    Shared,
}

/// Binds `address`: directory 0700, socket 0600.
pub fn bind(address: &str) -> Result<Bound> {
    let path = path(address);
    if let Some(dir) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(Error::io("create directory", dir))?;
    }
    match bind_private(path) {
        Ok(listener) => Ok(Bound::New(listener)),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            if try_connect(path).is_ok() {
                return Ok(Bound::Shared);
            }
            // Left behind by a shim that was killed.
            remove(path)?;
            bind_private(path)
                .map(Bound::New)
                .map_err(Error::io("bind", path))
        }
        Err(e) => Err(Error::io("bind", path)(e)),
    }
}

/// Binds with a umask that leaves nobody else a moment to connect. Only `start` calls it, with one
/// thread: the umask is the process's.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    bound
}

/// Removes a socket file; one that is gone already is fine.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Connects, and never waits: a shim that hangs has a full queue.
fn try_connect(path: &Path) -> nix::Result<()> {
    let socket = socket::socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    match socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::EAGAIN) => Ok(()),
        other => other,
    }
}

/// Removes the socket at `address` if nobody listens there: that of a shim that was killed.
pub fn remove_stale(address: &str) -> Result<()> {
    let path = path(address);
    match try_connect(path) {
        Err(Errno::ECONNREFUSED) => remove(path),
        _ => Ok(()),
    }
}

/// Removes its socket file when dropped.
pub struct Cleanup(pub PathBuf);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let _ = remove(&self.0);
    }
}

/// How long to wait after a connection could not be accepted, for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections of the shim's own user only, as containerd's shims do
/// (`UnixSocketRequireSameUser`).
pub fn same_user_listener(listener: UnixListener, clients: Clients) -> Result<Listener> {
    listener
        .set_nonblocking(true)
        .map_err(Error::sys("make the socket non-blocking"))?;
    let listener =
        tokio::net::UnixListener::from_std(listener).map_err(Error::sys("listen on the socket"))?;
    let connections = stream::unfold((listener, clients), |(listener, clients)| async {
        let connection = loop {
            match listener.accept().await {
                Ok((stream, _)) if is_same_user(&stream) => break clients.connected(stream),
                Ok(_) => log::warn!("refused a connection of another user"),
                Err(e) => {
                    log::warn!("accept a connection: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        Some((Ok(connection), (listener, clients)))
    });
    Ok(Listener::new(connections))
}

fn is_same_user(stream: &tokio::net::UnixStream) -> bool {
    let own = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    stream
        .peer_cred()
        .is_ok_and(|peer| (peer.uid(), peer.gid()) == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_nobody_listens_at_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = format!("unix://{}", path.display());
        let Bound::New(listener) = bind(&address).unwrap() else {
            panic!("nobody else listens");
        };
        remove_stale(&address).unwrap();
        assert!(matches!(bind(&address).unwrap(), Bound::Shared));
        drop(listener);
        assert!(path.exists());
        remove_stale(&address).unwrap();
        assert!(!path.exists());
        remove_stale(&address).unwrap();
    }

    #[test]
    fn a_shim_that_does_not_answer_is_still_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        // Its queue of connections gets full, and connecting would wait.
        for _ in 0..5000 {
            assert_eq!(try_connect(&path), Ok(()));
        }
    }
}
