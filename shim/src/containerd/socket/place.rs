//! Names in the directory of the shims' sockets: who makes or removes one holds the directory's lock, and
//! removes only the file that he means.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::error::{Error, Result};
use crate::host::file::{Identity, Locked, remove};
use crate::host::passing;

/// The lock is held for microseconds. A process that has it longer was stopped, and the node's containers do not
/// wait for him.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The directory, locked until this is dropped.
pub(crate) struct Lock {
    _lock: Option<Locked>,
}

impl Lock {
    /// Locks the directory itself: a file for it would have to stay there for good.
    pub(crate) fn of(dir: &Path) -> io::Result<Self> {
        let started = Instant::now();
        let dir = passing::insist(|| File::open(dir), passing::is_passing)?;
        loop {
            match dir.try_lock() {
                Ok(()) => {
                    let _lock = Some(Locked(dir));
                    return Ok(Self { _lock });
                }
                Err(TryLockError::Error(e)) if !passing::is_passing(&e) => return Err(e),
                Err(_) if started.elapsed() < LOCK_LIMIT => thread::sleep(LOCK_PAUSE),
                // By the identity of the files alone then.
                Err(_) => return Ok(Self { _lock: None }),
            }
        }
    }
}

/// Which file has this name, for those who remove it: nobody comes after them.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    passing::insist(|| Identity::find(path), passing::is_passing).ok()
}

/// Removes the file with this name if it is this one. The caller holds the lock.
pub(crate) fn remove_if(path: &Path, found: Identity) -> Result<()> {
    if identity(path) != Some(found) {
        return Ok(());
    }
    // Whatever it is: nobody comes after this.
    passing::insist(|| remove(path), |_| true)
}

/// The name of a socket that has a listener now. Its file is removed when this is dropped, but not the
/// one that another shim has put there since.
pub struct Own {
    path: PathBuf,
    identity: Option<Identity>,
}

impl Own {
    /// `path` as it is now. The file keeps its identity as long as its listener is open.
    pub fn new(path: &Path) -> Self {
        Self {
            identity: identity(path),
            path: path.to_owned(),
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let (Some(identity), Some(dir)) = (self.identity, self.path.parent()) else {
            return;
        };
        let _lock = Lock::of(dir);
        let _ = remove_if(&self.path, identity);
    }
}

/// The socket of this process, for names beside it.
static OWN: OnceLock<PathBuf> = OnceLock::new();

/// Says where this process listens.
pub fn set_own(path: &Path) {
    let _ = OWN.set(path.to_owned());
}

/// A name beside the shim's own socket, where only root can put anything, and short enough for a socket, as a
/// bundle's path is not. `delete` finds it by its beginning.
pub fn beside(purpose: &str) -> Result<PathBuf> {
    let own = OWN
        .get()
        .ok_or(Error::Missing("the shim's own socket has no path"))?;
    let mut random = [0; 8];
    // SAFETY: `random` has room for as many bytes as are asked for.
    let got = unsafe { libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0) };
    if usize::try_from(got) != Ok(random.len()) {
        return Err(Error::sys("getrandom")(io::Error::last_os_error()));
    }
    let random = u64::from_ne_bytes(random);
    Ok(own.with_file_name(format!("{}{purpose}-{random:016x}", prefix(own))))
}

/// Removes what a shim that was killed has left beside its socket.
pub(crate) fn remove_beside(own: &Path) {
    let (Some(dir), prefix) = (own.parent(), prefix(own)) else {
        return;
    };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = remove(&entry.path());
        }
    }
}

/// What the names beside a socket begin with: no name of a socket does.
fn prefix(own: &Path) -> String {
    let name = own.file_name().unwrap_or_default().to_string_lossy();
    let start: String = name.chars().take(16).collect();
    format!("{start}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_else_has_taken_is_left_to_him() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        fs::write(&path, "").unwrap();
        let own = Own::new(&path);
        // Both exist at once: the file system cannot give the second the number of the first.
        fs::write(dir.path().join("t"), "").unwrap();
        fs::rename(dir.path().join("t"), &path).unwrap();
        drop(own);
        assert!(path.exists());
        drop(Own::new(&path));
        assert!(!path.exists());
    }

    #[test]
    fn a_lock_whose_holder_was_stopped_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::of(dir.path()).unwrap();
        assert!(held._lock.is_some());
        assert!(Lock::of(dir.path()).unwrap()._lock.is_none());
        drop(held);
        assert!(Lock::of(dir.path()).unwrap()._lock.is_some());
    }

    #[test]
    fn what_is_beside_a_socket_goes_with_it_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            fs::write(&path, "").unwrap();
            path
        };
        let (own, other) = ("0123456789abcdef-and-more", "0123456789abcdef-another");
        let (own, other) = (file(own), file(other));
        let ours = file("0123456789abcdef.pty-1");
        let theirs = file("1123456789abcdef.pty-1");
        remove_beside(&own);
        assert!(!ours.exists());
        assert!(own.exists() && other.exists() && theirs.exists());
    }
}
