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
//!
//! UIDs and names come from whoever makes pods on this containerd. One that is no plain name of a file is
//! of no pod of podhook's: nothing is kept, read or removed for it. Of a pod that podhook did not make there
//! is the mark of its deletion at most.

pub(crate) mod folder;
mod mounts;
pub mod regular;
mod removal;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock;
use folder::{Folder, Name};

const PODS: Name<'_> = name("pods");
const LOGS: Name<'_> = name("logs");
const RUNTIME_CLASSES: Name<'_> = name("runtimeclasses");
const VOLUMES: Name<'_> = name("volumes");
const MANIFEST: Name<'_> = name("pod.json");
const DELETION: Name<'_> = name("deletion.json");
/// The file that is locked while a pod is made.
const CREATING: Name<'_> = name("creating");
const LOCK: Name<'_> = name("lock");

/// One of podhook's own names.
const fn name(name: &'static str) -> Name<'static> {
    Name::own(name)
}

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// As `create`.
        operation: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// The file is not what podhook writes.
    #[error("cannot read {}: {source}", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// A name that cannot be that of a file.
    #[error("{name:?} cannot be the name of a file")]
    Name {
        /// As it was given.
        name: String,
    },
    /// A mount below the pod's folder: removing the folder would remove what is mounted.
    #[error("{} is still mounted, not removing the pod's data", path.display())]
    Mounted { path: PathBuf },
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
    folder: Folder,
    _file: File,
}

impl Reservation {
    /// The pod is made.
    ///
    /// # Errors
    /// When the mark cannot be removed.
    pub fn done(self) -> Result<(), Error> {
        self.folder.remove_file(CREATING).map(|_| ())
    }
}

impl Store {
    /// The store at `root`, which need not exist yet. Mounts and logs are named to containerd by its path:
    /// so it is absolute.
    ///
    /// # Errors
    /// When `root` is empty or relative to a folder that is gone.
    pub fn new(root: &Path) -> Result<Self, Error> {
        let root = std::path::absolute(root).map_err(Error::io("find", root))?;
        Ok(Self { root })
    }

    /// The folder of `--root-dir`, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the store's lock; waits for it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn lock(&self) -> Result<Lock, Error> {
        let file = Folder::make(&self.root)?.lock_file(LOCK)?;
        file.lock()
            .map_err(Error::io("lock", &self.root.join("lock")))?;
        Ok(Lock { _file: file })
    }

    /// The folder of the data of a pod that is to be made.
    #[must_use]
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// The folder of such a pod's logs, named as the kubelet names it.
    #[must_use]
    pub fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.root.join("logs").join(log_name(namespace, name, uid))
    }

    /// Keeps the manifest of a pod that is about to be made. Until the reservation ends the pod is
    /// there for other commands, though containerd knows nothing of it yet. To be called with the
    /// store's lock held.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn reserve(&self, uid: &str, pod: &Pod) -> Result<Reservation, Error> {
        let uid = plain(uid)?;
        let folder = Folder::make(&self.root)?
            .make_folder(PODS)?
            .make_folder(uid)?;
        let file = folder.lock_file(CREATING)?;
        file.lock()
            .map_err(Error::io("lock", &folder.path_of(CREATING)))?;
        write_json(&folder, MANIFEST, pod)?;
        Ok(Reservation {
            folder,
            _file: file,
        })
    }

    /// A folder of the store; `None` where there is none yet.
    fn folder(&self, name: Name<'_>) -> Result<Option<Folder>, Error> {
        match Folder::open(&self.root)? {
            Some(root) => root.folder(name),
            None => Ok(None),
        }
    }

    /// The folder of a pod; `None` where there is none, and for what cannot be one's UID.
    fn pod_folder(&self, uid: &str) -> Result<Option<Folder>, Error> {
        match (Name::of(uid), self.folder(PODS)?) {
            (Some(uid), Some(pods)) => pods.folder(uid),
            _ => Ok(None),
        }
    }

    /// Since when a pod is being made; `None` when it is not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn being_made_since(&self, uid: &str) -> Result<Option<Timestamp>, Error> {
        let Some(folder) = self.pod_folder(uid)? else {
            return Ok(None);
        };
        let Some(file) = folder.file(CREATING)? else {
            return Ok(None);
        };
        // A shared lock, so that two that look do not take each other for the maker.
        if file.try_lock_shared().is_ok() {
            return Ok(None);
        }
        let modified = file.metadata().and_then(|m| m.modified());
        let modified = modified.map_err(Error::io("read", &folder.path_of(CREATING)))?;
        Ok(Some(clock::timestamp(modified)))
    }

    /// The UIDs of all pods that have a folder.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn uids(&self) -> Result<Vec<String>, Error> {
        let Some(pods) = self.folder(PODS)? else {
            return Ok(Vec::new());
        };
        let names = pods.names(usize::MAX)?;
        Ok(names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect())
    }

    /// Whether the command that was making this pod has died before it was done.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_abandoned(&self, uid: &str) -> Result<bool, Error> {
        let begun = match self.pod_folder(uid)? {
            Some(folder) => folder.file(CREATING)?.is_some(),
            None => false,
        };
        Ok(begun && self.being_made_since(uid)?.is_none())
    }

    /// The manifest of a pod; `None` for a pod that podhook did not make.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn pod(&self, uid: &str) -> Result<Option<Pod>, Error> {
        self.pod_folder(uid)?
            .map_or(Ok(None), |folder| read_json(&folder, MANIFEST))
    }

    /// The manifest of the pod with this UID and these names: anybody may give a pod the UID of another.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn pod_named(&self, uid: &str, namespace: &str, name: &str) -> Result<Option<Pod>, Error> {
        let pod = self.pod(uid)?;
        Ok(pod.filter(|pod| is_named(pod, namespace, name)))
    }

    /// Whether the folder of this UID is that of another pod.
    fn is_of_another(&self, uid: &str, namespace: &str, name: &str) -> Result<bool, Error> {
        let pod = self.pod(uid)?;
        Ok(pod.is_some_and(|pod| !is_named(&pod, namespace, name)))
    }

    /// Marks a pod as being deleted. There is no mark for what cannot be a UID, or is another pod's.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn mark_deleting(
        &self,
        uid: &str,
        (namespace, name): (&str, &str),
        deletion: &Deletion,
    ) -> Result<(), Error> {
        let Some(plain) = Name::of(uid) else {
            return Ok(());
        };
        if self.is_of_another(uid, namespace, name)? {
            return Ok(());
        }
        let pods = Folder::make(&self.root)?.make_folder(PODS)?;
        write_json(&pods.make_folder(plain)?, DELETION, deletion)
    }

    /// The mark of the pod with this UID and these names.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn deletion_named(
        &self,
        uid: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Deletion>, Error> {
        if self.is_of_another(uid, namespace, name)? {
            return Ok(None);
        }
        self.deletion(uid)
    }

    /// The mark of [`Store::mark_deleting`].
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn deletion(&self, uid: &str) -> Result<Option<Deletion>, Error> {
        self.pod_folder(uid)?
            .map_or(Ok(None), |folder| read_json(&folder, DELETION))
    }

    /// Removes everything that podhook has made for a pod: all of it for a pod of its own, the mark of its
    /// deletion for any other. Where the pod is not there any more, what is left of it by its UID alone.
    ///
    /// # Errors
    /// When something cannot be removed, or is still mounted.
    pub fn remove_pod(&self, uid: &str, named: Option<(&str, &str)>) -> Result<(), Error> {
        let (Some(uid), Some(pods)) = (Name::of(uid), self.folder(PODS)?) else {
            return Ok(());
        };
        let Some(folder) = pods.folder(uid)? else {
            return Ok(());
        };
        let pod: Option<Pod> = read_json(&folder, MANIFEST)?;
        match (pod, named) {
            (Some(pod), Some((namespace, name))) if !is_named(&pod, namespace, name) => Ok(()),
            (Some(pod), _) => {
                mounts::unmount_volumes(&folder, &pod)?;
                self.remove_logs(&pod, uid)?;
                remove_folder(&pods, &folder, uid)
            }
            (None, _) => {
                folder.remove_file(DELETION)?;
                folder.remove_file(CREATING)?;
                forget(&pods, uid)
            }
        }
    }

    fn remove_logs(&self, pod: &Pod, uid: Name<'_>) -> Result<(), Error> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (namespace, name) = (text(&pod.metadata.namespace), text(&pod.metadata.name));
        let name = log_name(&namespace, &name, uid.as_str());
        match (self.folder(LOGS)?, Name::of(&name)) {
            (Some(logs), Some(name)) => removal::remove(&logs, name),
            _ => Ok(()),
        }
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
            let file = class_file(name);
            let folder = Folder::make(&self.root)?.make_folder(RUNTIME_CLASSES)?;
            write_json(&folder, plain(&file)?, class)?;
        }
        Ok(change)
    }

    /// The RuntimeClass of this name.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn runtime_class(&self, name: &str) -> Result<Option<RuntimeClass>, Error> {
        match (self.folder(RUNTIME_CLASSES)?, Name::of(&class_file(name))) {
            (Some(folder), Some(file)) => read_json(&folder, file),
            _ => Ok(None),
        }
    }

    /// Removes a RuntimeClass; says whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_runtime_class(&self, name: &str) -> Result<bool, Error> {
        match (self.folder(RUNTIME_CLASSES)?, Name::of(&class_file(name))) {
            (Some(folder), Some(file)) => folder.remove_file(file),
            _ => Ok(false),
        }
    }
}

fn plain(name: &str) -> Result<Name<'_>, Error> {
    Name::of(name).ok_or_else(|| Error::Name {
        name: name.to_owned(),
    })
}

fn class_file(name: &str) -> String {
    format!("{name}.json")
}

fn log_name(namespace: &str, name: &str, uid: &str) -> String {
    format!("{namespace}_{name}_{uid}")
}

fn is_named(pod: &Pod, namespace: &str, name: &str) -> bool {
    let meta = &pod.metadata;
    (meta.namespace.as_deref(), meta.name.as_deref()) == (Some(namespace), Some(name))
}

/// Removes a pod's folder. The manifest, which says whose folder it is, goes last: a removal that breaks off
/// can be tried again.
fn remove_folder(pods: &Folder, folder: &Folder, uid: Name<'_>) -> Result<(), Error> {
    for entry in folder.names(usize::MAX)? {
        if let Some(name) = entry.to_str().and_then(Name::of)
            && name.as_str() != MANIFEST.as_str()
        {
            removal::remove(folder, name)?;
        }
    }
    removal::remove(pods, uid)
}

/// Removes the folder of another's pod, unless somebody else has something in it.
fn forget(pods: &Folder, uid: Name<'_>) -> Result<(), Error> {
    match pods.remove_empty(uid.as_ref()) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
            Ok(())
        }
        result => result.map(|_| ()),
    }
}

/// Creates a folder and its parents for root alone: volumes hold what containers write.
pub(crate) fn make_dir(path: &Path) -> Result<(), Error> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io("create", path))
}

fn read_json<T: DeserializeOwned>(folder: &Folder, name: Name<'_>) -> Result<Option<T>, Error> {
    let Some(bytes) = folder.read(name)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| Error::Json {
            path: folder.path_of(name),
            source,
        })
}

fn write_json<T: Serialize>(folder: &Folder, name: Name<'_>, value: &T) -> Result<(), Error> {
    let json = serde_json::to_vec_pretty(value).map_err(|source| Error::Json {
        path: folder.path_of(name),
        source,
    })?;
    folder.replace(name, &json)
}
