//! What the shim keeps of the containers that joined it without a `start` of their own, for the `delete` of the container
//! that it was started for: containerd (before 2.4) calls the verb for no other, and removes the containers' bundles as
//! soon as the shim is gone.
//!
//! It is in a folder beside the bundles, which outlives that of the shim: `.SHIM+members/ID` is a bundle with links to
//! the files that the verb reads, and `bundle`, the path of the real one. No id has such a name, and containerd passes
//! over what begins with a dot. The shim holds a lock on the folder: who waits for that learns of its end.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use podhook_hooks::counters::ledger::SANDBOXES;

use super::bundle::is_plain;
use super::file::{self, Locked};
use crate::error::{Error, Result};

const SUFFIX: &str = "+members";
/// containerd's file in the bundle of a container that it gave to a sandbox's shim, with the sandbox's id.
const SANDBOX: &str = "sandbox";
/// The path of the real bundle.
const BUNDLE: &str = "bundle";
/// There before the OCI runtime's first call.
const FIRST: [&str; 4] = ["config.json", "options.json", "runtime", "runtime.lock"];

/// The members that a shim keeps.
pub struct Members {
    folder: PathBuf,
    /// The lock on the folder, while there is one.
    held: Mutex<Option<Locked>>,
}

impl Members {
    /// Those of the shim whose own bundle this is.
    pub fn of(own_bundle: &Path) -> Self {
        Self {
            folder: folder(own_bundle),
            held: Mutex::new(None),
        }
    }

    /// Adds container `id`.
    pub fn add(&self, id: &str, bundle: &Path) -> Result<()> {
        self.remove(id);
        let member = self.folder.join(id);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&member)
            .map_err(Error::io("create directory", &member))?;
        self.hold();
        let place = member.join(BUNDLE);
        file::write_private(&place, bundle.as_os_str().as_encoded_bytes())?;
        for name in FIRST {
            link(bundle, &member, name)?;
        }
        Ok(())
    }

    /// Adds a file that a container has now.
    pub fn keep(&self, id: &str, bundle: &Path, name: &str) {
        let member = self.folder.join(id);
        if member.exists()
            && let Err(e) = link(bundle, &member, name)
        {
            log::warn!(id = id; "{e}");
        }
    }

    /// Forgets a container that is deleted.
    pub fn remove(&self, id: &str) {
        match remove(&self.folder, id) {
            Ok(true) => {}
            Ok(false) => *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None,
            Err(e) => log::warn!(id = id; "{e}"),
        }
    }

    /// Without the lock who waits for the shim's end asks again and again.
    fn hold(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return;
        }
        let lock = |folder: File| -> io::Result<_> {
            folder.try_lock()?;
            Ok(Locked(folder))
        };
        match File::open(&self.folder).and_then(lock) {
            Ok(lock) => *held = Some(lock),
            Err(e) => log::warn!("lock {}: {e}", self.folder.display()),
        }
    }
}

/// The folder of the shim with this bundle.
fn folder(own_bundle: &Path) -> PathBuf {
    let id = own_bundle.file_name().unwrap_or_default();
    own_bundle.with_file_name(format!(".{}{SUFFIX}", id.to_string_lossy()))
}

/// Removes a member, and the folder with the last one. Tells whether there are others.
fn remove(folder: &Path, id: &str) -> Result<bool> {
    file::remove_tree(&folder.join(id))?;
    match fs::remove_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(true),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", folder)(e)),
        _ => Ok(false),
    }
}

fn link(bundle: &Path, member: &Path, name: &str) -> Result<()> {
    let new = member.join(name);
    let linked = match fs::hard_link(bundle.join(name), &new) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&new).and_then(|()| fs::hard_link(bundle.join(name), &new))
        }
        linked => linked,
    };
    match linked {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("link", &new)(e)),
        _ => Ok(()),
    }
}

/// Whether the container of this bundle came without a `start` of its own.
pub fn has_joined(bundle: &Path) -> bool {
    bundle.join(SANDBOX).exists()
}

/// The bundles, as `delete` is given them, of those that a shim with this bundle has kept.
pub fn kept(own_bundle: &Path) -> Vec<(String, PathBuf)> {
    let members = fs::read_dir(folder(own_bundle));
    members
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|member| Some((member.file_name().into_string().ok()?, member.path())))
        .collect()
}

/// Forgets all that a shim with this bundle has kept: it is gone, and they are deleted.
pub fn forget_all(own_bundle: &Path) -> Result<()> {
    file::remove_tree(&folder(own_bundle))
}

/// Forgets the container of this bundle, which is deleted, where its shim has kept it.
pub fn forget(bundle: &Path) -> Result<()> {
    let (Ok(sandbox), Some(id)) = (fs::read_to_string(bundle.join(SANDBOX)), bundle.file_name())
    else {
        return Ok(());
    };
    if !is_plain(&sandbox) {
        return Ok(());
    }
    let beside = bundle.with_file_name(&sandbox);
    for own in [Some(beside), sandbox_bundle(bundle, &sandbox)]
        .into_iter()
        .flatten()
    {
        remove(&folder(&own), &id.to_string_lossy())?;
    }
    Ok(())
}

/// The bundle of a sandbox without a pause container, to which the container with this bundle belongs.
fn sandbox_bundle(bundle: &Path, sandbox: &str) -> Option<PathBuf> {
    let namespace = bundle.parent()?;
    let all = namespace.parent()?.with_file_name(SANDBOXES);
    Some(all.join(namespace.file_name()?).join(sandbox))
}

/// Whether a shim holds what it has kept: it lives, though its socket may have been removed.
pub fn is_held(own_bundle: &Path) -> bool {
    let locked = File::open(folder(own_bundle)).map(|folder| folder.try_lock_shared());
    matches!(locked, Ok(Err(TryLockError::WouldBlock)))
}

/// Waits until no shim holds what it has kept, where it has kept any. Tells whether it has.
pub fn wait_unheld(own_bundle: &Path) -> Result<bool> {
    let folder = folder(own_bundle);
    let open = match File::open(&folder) {
        Ok(open) => open,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::io("open", &folder)(e)),
    };
    loop {
        match open.lock() {
            Ok(()) => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("lock", &folder)(e)),
        }
    }
}

/// Where the bundle really was that `delete` is given.
pub fn origin(bundle: &Path) -> PathBuf {
    let all = bundle.parent().and_then(Path::file_name);
    let kept = all.is_some_and(|all| all.to_string_lossy().ends_with(SUFFIX));
    match fs::read_to_string(bundle.join(BUNDLE)) {
        Ok(origin) if kept => PathBuf::from(origin),
        _ => bundle.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::folder as folder_of;
    use super::*;

    #[test]
    fn a_container_is_forgotten_that_is_in_a_sandbox_without_a_pause_container() {
        let state = tempfile::tempdir().unwrap();
        let of = |all: &str, id: &str| state.path().join(all).join("k8s.io").join(id);
        let (own, bundle) = (of(SANDBOXES, "s"), of("tasks", "c"));
        for folder in [&own, &bundle] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(bundle.join("sandbox"), "s").unwrap();
        Members::of(&own).add("c", &bundle).unwrap();
        assert_eq!(kept(&own).len(), 1);
        forget(&bundle).unwrap();
        assert_eq!(kept(&own).len(), 0);
        assert!(!folder_of(&own).exists());
    }

    #[test]
    fn a_member_outlives_its_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let (own, bundle) = (folder.path().join("s"), folder.path().join("c"));
        fs::create_dir(&own).unwrap();
        fs::create_dir(&bundle).unwrap();
        let members = Members::of(&own);
        // It came by `start`.
        assert!(!has_joined(&bundle) && kept(&own).is_empty());
        for (name, text) in [("sandbox", "s"), ("config.json", "{}"), ("runtime", "runc")] {
            fs::write(bundle.join(name), text).unwrap();
        }
        assert!(has_joined(&bundle));
        members.add("c", &bundle).unwrap();
        for pid in ["1", "2"] {
            let _ = fs::remove_file(bundle.join("init.pid"));
            fs::write(bundle.join("init.pid"), pid).unwrap();
            members.keep("c", &bundle, "init.pid");
        }
        fs::remove_dir_all(&bundle).unwrap();
        let found = kept(&own);
        let [(id, member)] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(id, "c");
        assert_eq!(origin(member), bundle);
        assert_eq!(origin(&own), own);
        let read = |name: &str| fs::read_to_string(member.join(name)).unwrap();
        assert_eq!(
            (read("runtime"), read("init.pid")),
            ("runc".into(), "2".into())
        );
        // The shim's own bundle is removed by containerd, and it goes on.
        fs::remove_dir_all(&own).unwrap();
        members.keep("c", &bundle, "exit.json");
        assert_eq!(kept(&own).len(), 1);
        members.remove("c");
        assert!(kept(&own).is_empty());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        members.keep("c", &bundle, "init.pid");
        assert!(kept(&own).is_empty());
    }

    #[test]
    fn the_end_of_the_shim_can_be_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("s");
        assert!(!wait_unheld(&own).unwrap());
        let members = Members::of(&own);
        for id in ["a", "b"] {
            members.add(id, &folder.path().join(id)).unwrap();
        }
        let place = folder_of(&own);
        let free = || !is_held(&own);
        assert!(!free());
        members.remove("a");
        assert!(!free());
        drop(members);
        assert!(free() && wait_unheld(&own).unwrap());
        forget_all(&own).unwrap();
        forget_all(&own).unwrap();
        assert!(kept(&own).is_empty() && !place.exists());
    }

    #[test]
    fn a_container_that_is_deleted_is_forgotten_by_its_own_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("s");
        let members = Members::of(&own);
        let bundles = ["a", "b"].map(|id| folder.path().join(id));
        for (bundle, id) in bundles.iter().zip(["a", "b"]) {
            fs::create_dir(bundle).unwrap();
            // As before it joins.
            forget(bundle).unwrap();
            fs::write(bundle.join("sandbox"), "s").unwrap();
            members.add(id, bundle).unwrap();
        }
        forget(&bundles[0]).unwrap();
        assert_eq!(kept(&own).len(), 1);
        fs::write(bundles[1].join("sandbox"), "../s").unwrap();
        forget(&bundles[1]).unwrap();
        assert_eq!(kept(&own).len(), 1);
        fs::write(bundles[1].join("sandbox"), "s").unwrap();
        forget(&bundles[1]).unwrap();
        assert!(!folder_of(&own).exists());
    }
}
