//! podhook's own files: what it needs to know of a pod that containerd does not keep.
//!
//! ```text
//! <root>/pods/<uid>/pod.json          the manifest, defaults filled in
//! <root>/pods/<uid>/creating          there, and locked, while the pod is being made
//! <root>/pods/<uid>/deletion.json     there while the pod is being deleted
//! <root>/pods/<uid>/volumes/<name>    emptyDir volumes
//! <root>/pods/<uid>/termination-log/<container>
//! <root>/logs/<namespace>_<name>_<uid>/<container>/0.log
//! <root>/runtimeclasses/<name>.json
//! ```

mod mounts;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock;

/// The file that is locked while a pod is made.
const CREATING: &str = "creating";

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// As `create`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what podhook writes.
    #[error("cannot read {}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A mount below the pod's folder: removing the folder would remove what is mounted.
    #[error("{} is still mounted, not removing the pod's data", path.display())]
    Mounted {
        /// The mount point.
        path: PathBuf,
    },
}

impl Error {
    /// Makes an error of a failed `operation` on `path`; for `map_err`.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}

/// That a pod is being deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// When the containers will have been killed at the latest.
    pub deletion_timestamp: Timestamp,
    /// The grace period of this deletion.
    pub grace_period_seconds: i64,
}

/// The folder of `--root-dir`.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Held while pods are compared and made, so that two commands do not make the same pod.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Held while a pod is made.
#[derive(Debug)]
pub struct Reservation {
    path: PathBuf,
    _file: File,
}

impl Reservation {
    /// The pod is made.
    ///
    /// # Errors
    /// When the mark cannot be removed.
    pub fn done(self) -> Result<(), Error> {
        std::fs::remove_file(&self.path).map_err(Error::io("remove", &self.path))
    }
}

impl Store {
    /// The store at `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Takes the store's lock; waits for it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn lock(&self) -> Result<Lock, Error> {
        make_dir(&self.root)?;
        let path = self.root.join("lock");
        let file = open_lock(&path)?;
        file.lock().map_err(Error::io("lock", &path))?;
        Ok(Lock { _file: file })
    }

    /// The folder of a pod's data.
    #[must_use]
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// The folder of a pod's logs, named as the kubelet names it.
    #[must_use]
    pub fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.root
            .join("logs")
            .join(format!("{namespace}_{name}_{uid}"))
    }

    /// Keeps the manifest of a pod that is about to be made. Until the reservation ends the pod is
    /// there for other commands, though containerd knows nothing of it yet. To be called with the
    /// store's lock held.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn reserve(&self, uid: &str, pod: &Pod) -> Result<Reservation, Error> {
        let directory = self.pod_dir(uid);
        make_dir(&directory)?;
        let path = directory.join(CREATING);
        let file = open_lock(&path)?;
        file.lock().map_err(Error::io("lock", &path))?;
        write_json(&directory.join("pod.json"), pod)?;
        Ok(Reservation { path, _file: file })
    }

    /// Since when a pod is being made; `None` when it is not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn being_made_since(&self, uid: &str) -> Result<Option<Timestamp>, Error> {
        let path = self.pod_dir(uid).join(CREATING);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("open", &path)(e)),
        };
        // A shared lock, so that two that look do not take each other for the maker.
        if file.try_lock_shared().is_ok() {
            return Ok(None);
        }
        let modified = file.metadata().and_then(|m| m.modified());
        let modified = modified.map_err(Error::io("read", &path))?;
        Ok(Some(clock::timestamp(modified)))
    }

    /// The UIDs of all pods that have a folder.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn uids(&self) -> Result<Vec<String>, Error> {
        let path = self.root.join("pods");
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("read", &path)(e)),
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names
            .collect::<Result<_, _>>()
            .map_err(Error::io("read", &path))
    }

    /// Whether the command that was making this pod has died before it was done.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_abandoned(&self, uid: &str) -> Result<bool, Error> {
        let begun = self.pod_dir(uid).join(CREATING).exists();
        Ok(begun && self.being_made_since(uid)?.is_none())
    }

    /// The manifest of a pod; `None` for a pod that podhook did not make.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn pod(&self, uid: &str) -> Result<Option<Pod>, Error> {
        read_json(&self.pod_dir(uid).join("pod.json"))
    }

    /// Marks a pod as being deleted.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn mark_deleting(&self, uid: &str, deletion: &Deletion) -> Result<(), Error> {
        write_json(&self.pod_dir(uid).join("deletion.json"), deletion)
    }

    /// The mark of [`Store::mark_deleting`].
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn deletion(&self, uid: &str) -> Result<Option<Deletion>, Error> {
        read_json(&self.pod_dir(uid).join("deletion.json"))
    }

    /// Removes everything of a pod.
    ///
    /// # Errors
    /// When something cannot be removed, or is still mounted.
    pub fn remove_pod(&self, namespace: &str, name: &str, uid: &str) -> Result<(), Error> {
        remove_dir(&self.log_dir(namespace, name, uid))?;
        self.remove_data(uid)
    }

    /// Removes the folder of a pod.
    ///
    /// # Errors
    /// When something in it cannot be removed, or is still mounted.
    pub fn remove_data(&self, uid: &str) -> Result<(), Error> {
        let directory = self.pod_dir(uid);
        mounts::unmount_volumes(&directory)?;
        remove_dir(&directory)
    }

    /// Keeps a RuntimeClass. Says whether that changed anything: `None` for a new one.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn save_runtime_class(&self, class: &RuntimeClass) -> Result<Option<bool>, Error> {
        let name = class.metadata.name.as_deref().unwrap_or_default();
        let before = self.runtime_class(name)?;
        let change = before.map(|before| before != *class);
        if change != Some(false) {
            write_json(&self.runtime_class_path(name), class)?;
        }
        Ok(change)
    }

    /// The RuntimeClass of this name.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn runtime_class(&self, name: &str) -> Result<Option<RuntimeClass>, Error> {
        read_json(&self.runtime_class_path(name))
    }

    /// Removes a RuntimeClass; says whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_runtime_class(&self, name: &str) -> Result<bool, Error> {
        let path = self.runtime_class_path(name);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("remove", &path)(e)),
        }
    }

    fn runtime_class_path(&self, name: &str) -> PathBuf {
        self.root
            .join("runtimeclasses")
            .join(format!("{name}.json"))
    }
}

fn open_lock(path: &Path) -> Result<File, Error> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.open(path).map_err(Error::io("open", path))
}

/// Creates a folder and its parents for root alone: volumes hold what containers write.
pub(crate) fn make_dir(path: &Path) -> Result<(), Error> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io("create", path))
}

fn remove_dir(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Json {
                path: path.to_owned(),
                source,
            }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

/// Replaces the file in one step: a reader sees the old or the new one.
fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    let json = serde_json::to_vec_pretty(value).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })?;
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let mut options = File::options();
    options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = options
        .open(&partial)
        .map_err(Error::io("create", &partial))?;
    std::io::Write::write_all(&mut file, &json).map_err(Error::io("write", &partial))?;
    std::fs::rename(&partial, path).map_err(Error::io("rename", path))
}
