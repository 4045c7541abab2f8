//! Preparing what a pod mounts: hostPath checks, emptyDir folders, termination messages
//! (kubelet `volume/hostpath`, `volume/emptydir`).

use std::fs::Permissions;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Pod};
use rustix::mount::MountFlags;

use crate::cmd::error::Error;
use crate::manifest::{Placement, Quantity};
use crate::store::{Error as StoreError, make_dir};

/// Creates and checks everything that the containers of `pod` mount.
///
/// # Errors
/// A hostPath that is not what its type says; a folder that cannot be made.
pub fn prepare(pod: &Pod, placement: &Placement) -> Result<(), Error> {
    let spec = pod.spec.clone().unwrap_or_default();
    let group = spec.security_context.as_ref().and_then(|s| s.fs_group);
    for volume in spec.volumes.iter().flatten() {
        if let Some(host) = &volume.host_path {
            host_path(&volume.name, host)?;
        } else if let Some(empty) = &volume.empty_dir {
            empty_dir(empty, &placement.empty_dir(&volume.name), group)?;
        }
    }
    for container in &spec.containers {
        let path = placement.termination_log(&container.name);
        if let Some(parent) = path.parent() {
            make_dir(parent)?;
        }
        // Any user of the container may write it (kubelet: "the container may run as non-root").
        std::fs::write(&path, "").map_err(StoreError::io("create", &path))?;
        set_mode(&path, 0o666)?;
        make_dir(&placement.log_directory.join(&container.name))?;
    }
    Ok(())
}

fn host_path(volume: &str, host: &HostPathVolumeSource) -> Result<(), Error> {
    let path = Path::new(&host.path);
    let kind = host.type_.as_deref().unwrap_or_default();
    match kind {
        "DirectoryOrCreate" if !path.exists() => std::fs::DirBuilder::new()
            .recursive(true)
            .create(path)
            .map_err(StoreError::io("create", path))?,
        "FileOrCreate" if !path.exists() => {
            // A link that leads nowhere yet is somebody's, and no file.
            std::fs::File::create_new(path).map_err(StoreError::io("create", path))?;
            set_mode(path, 0o644)?;
        }
        _ => {}
    }
    let is = |test: fn(&std::fs::FileType) -> bool| {
        std::fs::metadata(path).is_ok_and(|m| test(&m.file_type()))
    };
    let (matches, what) = match kind {
        "Directory" | "DirectoryOrCreate" => (is(std::fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (is(std::fs::FileType::is_file), "a file"),
        "Socket" => (is(FileTypeExt::is_socket), "a socket file"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "a character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "a block device"),
        // The empty type is not checked; containerd creates a missing directory.
        _ => (true, ""),
    };
    if matches {
        return Ok(());
    }
    // The kubelet's words, of its event FailedMount.
    Err(Error::Refused(format!(
        "MountVolume.SetUp failed for volume {volume:?} : hostPath type check failed: {} is not {what}",
        path.display()
    )))
}

fn empty_dir(empty: &EmptyDirVolumeSource, path: &Path, group: Option<i64>) -> Result<(), Error> {
    make_dir(path)?;
    if empty.medium.as_deref() == Some("Memory") {
        let limit = empty
            .size_limit
            .as_ref()
            .and_then(|q| q.0.parse::<Quantity>().ok());
        let options = limit
            .map(|q| format!("size={}", q.value()))
            .unwrap_or_default();
        let options = std::ffi::CString::new(options).unwrap_or_default();
        rustix::mount::mount(
            "tmpfs",
            path,
            "tmpfs",
            MountFlags::empty(),
            options.as_c_str(),
        )
        .map_err(|e| StoreError::io("mount a tmpfs on", path)(e.into()))?;
    }
    set_mode(path, 0o777)?;
    if let Some(group) = group.and_then(|g| u32::try_from(g).ok()) {
        // What is made in it belongs to the group too (kubelet SetVolumeOwnership).
        std::os::unix::fs::chown(path, None, Some(group)).map_err(StoreError::io("chown", path))?;
        set_mode(path, 0o2777)?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(StoreError::io("chmod", path))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &Path, kind: &str) -> Result<(), String> {
        let host = HostPathVolumeSource {
            path: path.display().to_string(),
            type_: Some(kind.to_owned()),
        };
        host_path("data", &host).map_err(|e| e.to_string())
    }

    #[test]
    fn a_host_path_must_be_what_its_type_says() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let missing = dir.path().join("missing");
        assert_eq!(check(dir.path(), "Directory"), Ok(()));
        assert_eq!(check(&file, "File"), Ok(()));
        assert_eq!(check(Path::new("/dev/null"), "CharDevice"), Ok(()));
        assert_eq!(check(&missing, ""), Ok(()), "the empty type is not checked");
        for (path, kind, what) in [
            (&file, "Directory", "a directory"),
            (&file, "DirectoryOrCreate", "a directory"),
            (&missing, "Directory", "a directory"),
            (&missing, "File", "a file"),
            (&file, "Socket", "a socket file"),
            (&file, "BlockDevice", "a block device"),
        ] {
            let error = check(path, kind).unwrap_err();
            assert!(
                error.contains(&format!("{} is not {what}", path.display())),
                "{error}"
            );
            assert!(error.contains("volume \"data\""), "{error}");
        }
    }

    #[test]
    fn the_or_create_types_create() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("a/b"), dir.path().join("file"));
        check(&folder, "DirectoryOrCreate").unwrap();
        check(&file, "FileOrCreate").unwrap();
        assert!(folder.is_dir() && file.is_file());
    }

    #[test]
    fn an_empty_dir_is_writable_for_everyone_and_belongs_to_the_fs_group() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volume");
        empty_dir(&EmptyDirVolumeSource::default(), &path, None).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o777);
        let own = i64::from(rustix::process::getgid().as_raw());
        empty_dir(&EmptyDirVolumeSource::default(), &path, Some(own)).unwrap();
        assert_eq!(mode(&path), 0o2777);
    }
}
