//! The mounts below a pod's folder.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

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
    let table = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(table).map_err(Error::io("read", table))?;
    Ok(text
        .lines()
        .rev()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|path| path.starts_with(directory))
        .collect())
}

/// mountinfo writes blanks and backslashes as octal (`\040`).
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .first_chunk::<3>()
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read_from_mountinfo() {
        assert_eq!(unescape(r"/a\040b\134c"), PathBuf::from(r"/a b\c"));
        assert_eq!(unescape(r"/plain\"), PathBuf::from(r"/plain\"));
    }
}
