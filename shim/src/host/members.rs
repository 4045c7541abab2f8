//! What the shim keeps in its own bundle of the containers that joined it without a `start` of their own, for the
//! `delete` of that bundle: containerd (before 2.4) calls the verb for no other, and removes the containers' bundles
//! as soon as the shim is gone.
//!
//! `members/ID` is a bundle with links to the files that the verb reads, and `bundle`, the path of the real one.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::file;
use crate::error::{Error, Result};

const FOLDER: &str = "members";
/// containerd's file in the bundle of a container that it gave to a sandbox's shim.
const SANDBOX: &str = "sandbox";
/// The path of the real bundle.
const BUNDLE: &str = "bundle";
/// There before the OCI runtime's first call.
const FIRST: [&str; 4] = ["config.json", "options.json", "runtime", "runtime.lock"];

/// The members that a shim keeps.
pub struct Members {
    folder: PathBuf,
}

impl Members {
    /// Those of the shim whose own bundle this is.
    pub fn of(own_bundle: &Path) -> Self {
        Self {
            folder: own_bundle.join(FOLDER),
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
        let member = self.folder.join(id);
        match fs::remove_dir_all(&member) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                log::warn!(id = id; "remove {}: {e}", member.display());
            }
            _ => {}
        }
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
    let members = fs::read_dir(own_bundle.join(FOLDER));
    members
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|member| Some((member.file_name().into_string().ok()?, member.path())))
        .collect()
}

/// Where the bundle really was that `delete` is given.
pub fn origin(bundle: &Path) -> PathBuf {
    let kept = bundle.parent().is_some_and(|all| all.ends_with(FOLDER));
    match fs::read_to_string(bundle.join(BUNDLE)) {
        Ok(origin) if kept => PathBuf::from(origin),
        _ => bundle.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        members.remove("c");
        assert!(kept(&own).is_empty());
        members.keep("c", &bundle, "init.pid");
        assert!(kept(&own).is_empty());
    }
}
