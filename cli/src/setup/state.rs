//! What podhook install has changed on a node, so that it can be taken back byte for byte.

use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::change::Change;
use super::error::Error;
use super::root::{Access, Found, Root};
use crate::args::NodeKind;

/// Where it is kept, with what was there before.
pub const FOLDER: &str = "/var/lib/podhook/install";
const FILE: &str = "state.json";
/// What this version reads and writes.
const VERSION: u32 = 1;

/// All that was changed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub version: u32,
    /// The version of podhook that wrote it last.
    pub podhook: String,
    /// The runtime handler's name.
    pub runtime: String,
    /// That of the one whose pods have no pause container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pauseless: Option<String>,
    /// The shim's program.
    pub shim: PathBuf,
    /// What the node was set up for.
    pub places: Vec<NodeKind>,
    pub files: Vec<Entry>,
    /// Folders that were not there, the outermost first.
    pub folders: Vec<PathBuf>,
    /// Whether all but the programs was taken off already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub half: bool,
}

/// One file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub path: PathBuf,
    /// What was there; nothing where the file is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// The hash of what was written.
    pub sha256: String,
    #[serde(default)]
    pub program: bool,
    /// Somebody else has changed it between two installs: what was before both is not what is to be restored.
    #[serde(default)]
    pub changed: bool,
}

/// A file as it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Before {
    /// Its copy's name in [`FOLDER`].
    pub copy: String,
    pub sha256: String,
    #[serde(flatten)]
    pub access: Access,
}

/// How a file is, beside what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// As it was written.
    Written,
    /// As it was before.
    Restored,
    /// Neither.
    Changed,
}

impl State {
    /// Reads it; none where podhook install has not run.
    ///
    /// # Errors
    /// When it cannot be read, or is of a later version.
    pub fn load(root: &Root) -> Result<Option<Self>, Error> {
        let path = Path::new(FOLDER).join(FILE);
        let Some(found) = root.read_to_edit(&path)? else {
            return Ok(None);
        };
        let shown = root.outside(&path).display().to_string();
        let state: Self = serde_json::from_slice(&found.bytes).map_err(|e| {
            Error::refused(
                format!("{shown} cannot be read: {e}"),
                "the copies of what was before are beside it; see docs/install.md",
            )
        })?;
        if state.version > VERSION {
            return Err(Error::refused(
                format!(
                    "{shown} was written by podhook {}, a later version",
                    state.podhook
                ),
                "use that podhook, or a later one",
            ));
        }
        Ok(Some(state))
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self, root: &Root) -> Result<(), Error> {
        self.make_folder(root)?;
        self.version = VERSION;
        env!("CARGO_PKG_VERSION").clone_into(&mut self.podhook);
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        let path = Path::new(FOLDER).join(FILE);
        root.replace(&path, text.as_bytes(), Access::of_root(0o600))
    }

    /// The folder that the programs were put into, where that is not the `usual` one.
    #[must_use]
    pub fn folder(&self, usual: &Path) -> Option<&Path> {
        let is_shim = |entry: &&Entry| entry.program && entry.path == self.shim;
        let folder = self.files.iter().find(is_shim)?.path.parent()?;
        Some(folder).filter(|folder| *folder != usual)
    }

    fn make_folder(&mut self, root: &Root) -> Result<(), Error> {
        let made = root.make_folder(Path::new("/var/lib"), 0o755)?;
        self.made(made);
        let made = root.make_folder(Path::new(FOLDER), 0o700)?;
        self.made(made);
        Ok(())
    }

    /// Makes changes. What was there is kept first, so that whatever is cut short can be taken back.
    ///
    /// # Errors
    /// With the first file that cannot be written; those before it are written.
    pub fn apply(&mut self, root: &Root, changes: &[Change]) -> Result<(), Error> {
        self.half = false;
        for change in changes {
            self.keep(root, change)?;
        }
        for change in changes {
            if let Some(folder) = change.path.parent() {
                let made = root.make_folder(folder, 0o755)?;
                self.made(made);
            }
        }
        self.save(root)?;
        // The program is there before anything names it.
        let (programs, texts): (Vec<&Change>, Vec<&Change>) =
            changes.iter().partition(|change| change.program);
        for change in programs.into_iter().chain(texts) {
            root.replace(&change.path, &change.after, change.access)?;
        }
        Ok(())
    }

    fn made(&mut self, folders: Vec<PathBuf>) {
        for folder in folders {
            if !self.folders.contains(&folder) {
                self.folders.push(folder);
            }
        }
    }

    /// Keeps what a change is about to replace.
    fn keep(&mut self, root: &Root, change: &Change) -> Result<(), Error> {
        let written = sha256(&change.after);
        if let Some(entry) = self
            .files
            .iter_mut()
            .find(|entry| entry.path == change.path)
        {
            let now = entry.now(change.before.as_ref());
            let replaced = now == Now::Changed && !change.carries && !change.program;
            if !replaced {
                entry.changed |= now == Now::Changed && !change.program;
                entry.sha256 = written;
                return Ok(());
            }
            // Somebody has written the whole file anew: that is now what was before.
        }
        self.files.retain(|entry| entry.path != change.path);
        let before = match &change.before {
            Some(found) => Some(self.copy(root, &change.path, found)?),
            None => None,
        };
        self.files.push(Entry {
            path: change.path.clone(),
            before,
            sha256: written,
            program: change.program,
            changed: false,
        });
        Ok(())
    }

    fn copy(&mut self, root: &Root, path: &Path, found: &Found) -> Result<Before, Error> {
        self.make_folder(root)?;
        let mut copy = sha256(path.as_os_str().as_encoded_bytes());
        copy.truncate(16);
        let at = Path::new(FOLDER).join(&copy);
        root.replace(&at, &found.bytes, Access::of_root(0o600))?;
        Ok(Before {
            copy,
            sha256: sha256(&found.bytes),
            access: found.access,
        })
    }

    /// Forgets all but some files.
    ///
    /// # Errors
    /// When a copy cannot be removed, or the rest not be written.
    pub fn forget_but(&mut self, root: &Root, rest: Vec<Entry>) -> Result<(), Error> {
        self.remove_copies(root, &rest)?;
        self.files = rest;
        self.save(root)
    }

    fn remove_copies(&self, root: &Root, but: &[Entry]) -> Result<(), Error> {
        let goes = |entry: &&Entry| but.iter().all(|stays| stays.path != entry.path);
        let mut copies = self.files.iter().filter(goes).filter_map(Entry::copy);
        copies.try_for_each(|copy| root.remove(&copy))
    }

    /// Removes everything that is kept.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove(&self, root: &Root) -> Result<(), Error> {
        self.remove_copies(root, &[])?;
        root.remove(&Path::new(FOLDER).join(FILE))?;
        for folder in self.folders.iter().rev() {
            root.remove_empty_folder(folder);
        }
        Ok(())
    }
}

impl Entry {
    /// How the file is now.
    #[must_use]
    pub fn now(&self, found: Option<&Found>) -> Now {
        let hash = found.map(|found| sha256(&found.bytes));
        let before = self.before.as_ref().map(|before| &before.sha256);
        if hash.as_ref() == before {
            Now::Restored
        } else if !self.changed && hash.as_ref() == Some(&self.sha256) {
            Now::Written
        } else {
            Now::Changed
        }
    }

    /// Where what was before is kept.
    #[must_use]
    pub fn copy(&self) -> Option<PathBuf> {
        Some(Path::new(FOLDER).join(&self.before.as_ref()?.copy))
    }

    /// Puts back what was there.
    ///
    /// # Errors
    /// When the copy is not what was kept, or the file cannot be written.
    pub fn restore(&self, root: &Root) -> Result<(), Error> {
        let (Some(before), Some(copy)) = (&self.before, self.copy()) else {
            return root.remove(&self.path);
        };
        let found = root.read_to_edit(&copy)?;
        let bytes = found.map(|found| found.bytes);
        let bytes = bytes.filter(|bytes| sha256(bytes) == before.sha256);
        let Some(bytes) = bytes else {
            return Err(Error::refused(
                format!(
                    "{} is not what was kept there",
                    root.outside(&copy).display()
                ),
                format!(
                    "take podhook's section out of {} by hand, then podhook uninstall --changed keep",
                    root.outside(&self.path).display()
                ),
            ));
        };
        root.replace(&self.path, &bytes, before.access)
    }
}

/// In hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
