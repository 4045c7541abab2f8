//! The shim's socket: where it is, who makes it, who may connect.

#[allow(unsafe_code)]
mod place;

use std::fs::DirBuilder;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use containerd_shim_protos::ttrpc::r#async::transport::Listener;
use futures::stream;
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, umask};
use podhook_hooks::linux::limit::Asked;

use super::clients::Clients;
use crate::error::{Error, Result};
use crate::host::file::Identity;
use crate::host::passing;
use place::Lock;

pub use place::{Own, beside, set_own};

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

/// How often a name is tried again that other processes bind and remove at the same time.
const TRIES: usize = 10;

/// Binds `address`: directory 0700, socket 0600.
pub fn bind(address: &str) -> Result<Bound> {
    let path = path(address);
    let dir = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(Error::io("create directory", dir))?;
    // Else another `start` could take for stale what is bound but does not listen yet, or remove what this one
    // has put in the place of a stale socket.
    let _lock = Lock::of(dir).map_err(Error::io("lock", dir))?;
    for _ in 0..TRIES {
        match bind_private(path) {
            Ok(listener) => return Ok(Bound::New(listener)),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
            Err(e) => return Err(Error::io("bind", path)(e)),
        }
        let found = Identity::of(path);
        match (try_connect(path), found) {
            (Ok(()), _) => return Ok(Bound::Shared),
            (Err(e), Some(found)) if is_stale(e) => place::remove_if(path, found)?,
            (Err(Errno::ENOENT), _) | (_, None) => {}
            (Err(e), _) => return Err(Error::io("connect to", path)(e.into())),
        }
    }
    Err(Error::io("bind", path)(io::ErrorKind::AddrInUse.into()))
}

/// Whether it cannot have a listener: the socket of a shim that was killed, or no socket.
fn is_stale(error: Errno) -> bool {
    matches!(
        error,
        Errno::ECONNREFUSED | Errno::EPROTOTYPE | Errno::ENOTSOCK
    )
}

/// Binds with a umask, so that at no moment another user can connect. Only `start` calls it, with one
/// thread: the umask is the process's.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    bound
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

/// Whether a shim listens at `address`, be it one that hangs.
pub fn has_listener(address: &str) -> bool {
    try_connect(path(address)).is_ok()
}

/// Removes the socket at `address` if it has no listener, and what is beside it: those of a shim that was
/// killed.
pub fn remove_stale(address: &str) -> Result<()> {
    let path = path(address);
    let dir = path.parent().unwrap_or(Path::new("/"));
    let _lock = match Lock::of(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        locked => locked.map_err(Error::io("lock", dir))?,
    };
    let found = place::identity(path);
    let connected = passing::insist(|| try_connect(path), |e| passing::is_passing(&(*e).into()));
    match (connected, found) {
        (Err(Errno::ECONNREFUSED), Some(found)) => place::remove_if(path, found)?,
        (Err(Errno::ENOENT), _) => {}
        _ => return Ok(()),
    }
    place::remove_beside(path);
    Ok(())
}

/// How long to wait after a connection could not be accepted, for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections of the shim's own user only, as containerd's shims do
/// (`UnixSocketRequireSameUser`).
pub fn same_user_listener(listener: UnixListener, clients: Clients) -> Result<Listener> {
    listener
        .set_nonblocking(true)
        .map_err(Error::sys("make the socket non-blocking"))?;
    let listener = tokio::net::UnixListener::from_std(listener)
        .map_err(|e| Error::sys("listen on the socket")(Asked::Watch.explain(e)))?;
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
    fn of_many_starts_beside_a_stale_socket_one_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = format!("unix://{}", path.display());
        for _ in 0..200 {
            drop(UnixListener::bind(&path).unwrap());
            let gate = std::sync::Barrier::new(4);
            let listeners: Vec<_> = std::thread::scope(|scope| {
                let start = || {
                    gate.wait();
                    bind(&address).unwrap()
                };
                let starts: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
                let bound = starts.into_iter().map(|start| start.join().unwrap());
                let new = |bound| match bound {
                    Bound::New(listener) => Some(listener),
                    Bound::Shared => None,
                };
                bound.filter_map(new).collect()
            });
            assert_eq!(listeners.len(), 1);
            assert_eq!(try_connect(&path), Ok(()));
            crate::host::file::remove(&path).unwrap();
        }
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
