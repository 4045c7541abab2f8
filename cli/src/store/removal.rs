//! Removing a tree in which containers have made what they liked: no link is followed, no mount is
//! crossed, and no depth is too deep.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};

use super::Error;
use super::folder::{Folder, Name};

/// Folders in folders that are held open at once. What is deeper is moved up first.
const MAX_DEPTH: usize = 64;
/// Names read at once: a folder may have millions.
const BATCH: usize = 1024;

/// Removes `name` with all that is in it; nothing is there afterwards, as before where nothing was.
pub(super) fn remove(parent: &Folder, name: Name<'_>) -> Result<(), Error> {
    let name: &OsStr = name.as_ref();
    if !parent.is_folder(name)? {
        return parent.unlink(name).map(|_| ());
    }
    let tree = Tree {
        top: parent.same_mount(name)?,
        lifted: Cell::new(0),
    };
    tree.empty()?;
    parent.remove_empty(name).map(|_| ())
}

struct Tree {
    top: Folder,
    /// How many folders were moved up.
    lifted: Cell<usize>,
}

impl Tree {
    /// What is moved up meanwhile is found here again.
    fn empty(&self) -> Result<(), Error> {
        self.empty_folder(&self.top, 1)
    }

    fn empty_folder(&self, folder: &Folder, depth: usize) -> Result<(), Error> {
        loop {
            let names = folder.names(BATCH)?;
            if names.is_empty() {
                return Ok(());
            }
            for name in names {
                self.remove_entry(folder, &name, depth)?;
            }
        }
    }

    fn remove_entry(&self, folder: &Folder, name: &OsStr, depth: usize) -> Result<(), Error> {
        if !folder.is_folder(name)? {
            return folder.unlink(name).map(|_| ());
        }
        // A mount is refused before anything of it is looked at.
        let child = folder.same_mount(name)?;
        if depth == MAX_DEPTH {
            return self.lift(folder, name);
        }
        self.empty_folder(&child, depth.saturating_add(1))?;
        folder.remove_empty(name).map(|_| ())
    }

    /// Moves a folder to the top under a name that is free.
    fn lift(&self, folder: &Folder, name: &OsStr) -> Result<(), Error> {
        loop {
            let number = self.lifted.replace(self.lifted.get().saturating_add(1));
            let new = OsString::from(format!(".removing-{}-{number}", std::process::id()));
            match folder.move_to(name, &self.top, &new) {
                Err(Error::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists => {}
                result => return result,
            }
        }
    }
}
