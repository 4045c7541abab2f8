//! The mounts below a pod's folder.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use podhook_hooks::linux::mountinfo;

use super::folder::{Folder, Name};
use super::{Error, VOLUMES};

/// `TMPFS_MAGIC`, statfs(2).
const TMPFS: u64 = 0x0102_1994;

/// Unmounts the memory volumes of `pod`. A mount that a container left elsewhere below the folder is not
/// ours to undo, and nothing is removed then.
pub(super) fn unmount_volumes(folder: &Folder, pod: &Pod) -> Result<(), Error> {
    if let Some(volumes) = folder.folder(VOLUMES)? {
        for name in memory_volumes(pod) {
            while volumes.mounted_on(name)? == Some(TMPFS) {
                volumes.unmount(name)?;
            }
        }
    }
    match mounts_below(&folder.real_path()?)?.into_iter().next() {
        Some(path) => Err(Error::Mounted { path }),
        None => Ok(()),
    }
}

fn memory_volumes(pod: &Pod) -> impl Iterator<Item = Name<'_>> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let memory = volumes.filter(|volume| {
        let medium = volume.empty_dir.as_ref().and_then(|e| e.medium.as_deref());
        medium == Some("Memory")
    });
    memory.filter_map(|volume| Name::of(&volume.name))
}

/// The mount points below a folder, the innermost first. The path is the kernel's own, as the table's are.
fn mounts_below(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    mountinfo::points_below(directory).map_err(Error::io("read", Path::new(mountinfo::TABLE)))
}
