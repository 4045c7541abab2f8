//! Where a pod's bundle is. containerd moves one that it removes to a hidden name, whatever is still mounted in it, and
//! gives up there: so it does with a pod whose start its client has given up.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::files;
use crate::error::{Error, Result};
use crate::host::file::Identity;

/// A bundle, whatever its name is by now.
#[derive(Clone)]
pub struct Place {
    /// Its name at first.
    bundle: PathBuf,
    identity: Identity,
}

impl Place {
    pub fn of(bundle: &Path) -> Result<Self> {
        Ok(Self {
            bundle: bundle.to_owned(),
            identity: Identity::find(bundle).map_err(Error::io("find", bundle))?,
        })
    }

    /// Its first name.
    pub fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// Whether it is not there any more under its name.
    pub fn is_lost(&self) -> bool {
        match Identity::find(&self.bundle) {
            Ok(found) => found != self.identity,
            Err(e) => e.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Unmounts what the pod has mounted there. Of a bundle that containerd could not remove for that, the rest is removed.
    pub fn clear(&self) -> Result<()> {
        if !self.is_lost() {
            return files::unmount(&self.bundle);
        }
        let Some(hidden) = self.hidden() else {
            return Ok(());
        };
        files::unmount(&hidden)?;
        match fs::remove_dir_all(&hidden) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", hidden)(e)),
            _ => Ok(()),
        }
    }

    /// Its later name, if it has one: the shim runs in it.
    fn hidden(&self) -> Option<PathBuf> {
        let here = env::current_dir().ok()?;
        (Identity::of(&here) == Some(self.identity)).then_some(here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_with_another_name_or_another_of_its_name_is_lost() {
        let all = tempfile::tempdir().unwrap();
        let bundle = all.path().join("p1");
        fs::create_dir(&bundle).unwrap();
        let place = Place::of(&bundle).unwrap();
        assert!(!place.is_lost());
        fs::rename(&bundle, all.path().join(".p1")).unwrap();
        assert!(place.is_lost());
        fs::create_dir(&bundle).unwrap();
        assert!(place.is_lost());
        // Nobody's folder is touched.
        place.clear().unwrap();
        assert!(bundle.exists() && all.path().join(".p1").exists());
        assert!(Place::of(&all.path().join("p2")).is_err());
    }
}
