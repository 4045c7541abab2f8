//! The journal: whether the shims can write to it. What they cannot write, only containerd's log says.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use podhook_hooks::config::Config;
use podhook_hooks::journal;

use super::check::Check;
use crate::setup::place::Place;
use crate::setup::root::Root;

/// What a line or a new segment needs at least.
const ROOM: u64 = 64 << 10;
/// Write for the group or for others: the shim then writes nothing.
const WRITABLE: u32 = 0o022;

/// One check of each folder, where there is something to say.
pub(super) fn checks(root: &Root, places: &[Place], config: &Config) -> Vec<Check> {
    let of_place = |place: &Place| {
        let state = root.outside(Path::new(place.state));
        journal::folder(&config.journal.place, Some(&state))
    };
    let mut folders: Vec<PathBuf> = places.iter().filter_map(of_place).collect();
    folders.sort();
    folders.dedup();
    let folders =
        folders.iter().map(
            |folder| match folder.strip_prefix(root.outside(Path::new("/"))) {
                Ok(_) => folder.clone(),
                Err(_) => root.outside(folder),
            },
        );
    folders.filter_map(|folder| check(&folder)).collect()
}

fn check(folder: &Path) -> Option<Check> {
    let shown = folder.display();
    let warn = |why: String, mend: String| {
        let message =
            format!("results of hooks are not kept, and podhook history does not have them: {why}");
        Some(Check::warn("journal", message, mend))
    };
    let found = match folder.symlink_metadata() {
        Ok(found) => found,
        // The shim makes it, with the folder above it.
        Err(e) if e.kind() == ErrorKind::NotFound => return absent(folder),
        // Who is not root does not learn more.
        Err(e) if e.kind() == ErrorKind::PermissionDenied => return None,
        Err(e) => {
            return warn(
                format!("{shown}: {e}"),
                "mend it, or say another folder: journal in /etc/podhook/config.toml".to_owned(),
            );
        }
    };
    if !found.is_dir() {
        return warn(
            format!("{shown} is no folder"),
            format!("remove {shown}: podhook makes it"),
        );
    }
    if found.uid() != 0 && found.uid() != rustix::process::geteuid().as_raw() {
        return warn(
            format!("{shown} is not root's"),
            format!("chown root {shown}"),
        );
    }
    if found.mode() & WRITABLE != 0 {
        return warn(
            format!("others may write to {shown}"),
            format!("chmod 700 {shown}"),
        );
    }
    let Ok(disk) = rustix::fs::statvfs(folder) else {
        return Some(Check::ok("journal", shown.to_string()));
    };
    if disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return warn(
            format!("{shown} is on a read-only file system"),
            "say another folder: journal in /etc/podhook/config.toml".to_owned(),
        );
    }
    let no_files = disk.f_files > 0 && disk.f_favail == 0;
    if no_files || disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM {
        return warn(
            format!("no room is left where {shown} is"),
            format!(
                "make room (df {shown}), or say another folder: journal in /etc/podhook/config.toml"
            ),
        );
    }
    Some(Check::ok("journal", shown.to_string()))
}

/// A folder that is not there yet is none to complain of, where it can be made.
fn absent(folder: &Path) -> Option<Check> {
    let above = folder.parent()?.parent()?;
    let is_below_state = folder.ends_with("podhook/journal");
    if is_below_state || above.is_dir() {
        return None;
    }
    Some(Check::warn(
        "journal",
        format!(
            "{} cannot be made: there is no {}",
            folder.display(),
            above.display()
        ),
        format!("mkdir -p {}", folder.display()),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::doctor::check::Status;

    fn look(root: &Path, config: &str) -> Vec<Check> {
        let config = Config::parse(config, "config.toml").unwrap();
        let root = Root::open(root).unwrap();
        checks(&root, &[Place::plain(), Place::plain()], &config)
    }

    #[test]
    fn a_journal_that_the_shims_do_not_write_to_is_a_warning() {
        let node = tempfile::tempdir().unwrap();
        assert!(look(node.path(), "").is_empty(), "there is none yet");
        let folder = node.path().join("run/containerd/podhook/journal");
        fs::create_dir_all(&folder).unwrap();
        let mode = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o700);
        let checks = look(node.path(), "");
        assert_eq!(checks.len(), 1, "{checks:?}");
        assert_eq!(checks[0].status, Status::Ok, "{checks:?}");
        assert!(look(node.path(), "journal = \"off\"\n").is_empty());
        mode(0o777);
        let checks = look(node.path(), "");
        assert_eq!(checks[0].status, Status::Warn, "{checks:?}");
        assert!(checks[0].mend.as_ref().unwrap().starts_with("chmod 700 "));
        fs::remove_dir(&folder).unwrap();
        symlink("/tmp", &folder).unwrap();
        let checks = look(node.path(), "");
        assert!(checks[0].message.contains("no folder"), "{checks:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_and_a_full_disk_are_warnings() {
        let node = tempfile::tempdir().unwrap();
        let checks = look(node.path(), "journal = \"/data/hooks/journal\"\n");
        assert_eq!(checks[0].status, Status::Warn, "{checks:?}");
        assert!(checks[0].message.contains("cannot be made"), "{checks:?}");
        // Its file systems have no room at all.
        if let Some(check) = check(Path::new("/proc")) {
            assert_eq!(check.status, Status::Warn, "{check:?}");
        }
    }
}
