//! Files below a root folder that is made up.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn root() -> (tempfile::TempDir, Root) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("etc/containerd")).unwrap();
    let root = Root::open(folder.path()).unwrap();
    (folder, root)
}

const FILE: &str = "/etc/containerd/config.toml";

#[test]
fn a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it() {
    let (folder, root) = root();
    let path = folder.path().join("etc/containerd/config.toml");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(path.with_file_name(".config.toml.podhook-new"), "left").unwrap();
    let found = root.read_to_edit(Path::new(FILE)).unwrap().unwrap();
    assert_eq!(found.access.mode, 0o640);
    root.replace(Path::new(FILE), b"new", found.access).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(
        path.metadata().unwrap().permissions().mode() & 0o7777,
        0o640
    );
    assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1);
    root.remove(Path::new(FILE)).unwrap();
    assert_eq!(root.read_to_edit(Path::new(FILE)).unwrap(), None);
}

#[test]
fn a_link_is_followed_within_the_root_and_never_written_over() {
    let (folder, root) = root();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir_all(at("data/containerd")).unwrap();
    fs::write(at("data/containerd/config.toml"), "there").unwrap();
    // An absolute link is the node's, not this machine's.
    symlink("/data/containerd", at("etc/link")).unwrap();
    symlink(
        "../../data/containerd/config.toml",
        at("etc/containerd/config.toml"),
    )
    .unwrap();
    let linked = Path::new("/etc/link/config.toml");
    assert_eq!(root.read(linked).unwrap().unwrap(), b"there");
    assert_eq!(root.read(Path::new(FILE)).unwrap().unwrap(), b"there");
    assert!(root.read_to_edit(linked).unwrap().is_some());
    let error = root.read_to_edit(Path::new(FILE)).unwrap_err().to_string();
    assert!(error.contains("/data/containerd/config.toml"), "{error}");
    assert!(root.replace(Path::new(FILE), b"", Access::NEW).is_err());
    assert_eq!(
        fs::read(at("data/containerd/config.toml")).unwrap(),
        b"there"
    );
    symlink("/etc/loop", at("etc/loop")).unwrap();
    assert!(root.read(Path::new("/etc/loop/x")).is_err());
    assert!(root.read(Path::new("/etc/loop")).is_err());
    // Above the root is the root.
    assert!(
        root.read(Path::new("/../../../etc/link/config.toml"))
            .unwrap()
            .is_some()
    );
}

#[test]
fn what_leads_through_a_folder_of_everybodys_is_read_and_not_written() {
    let (folder, root) = root();
    let open = folder.path().join("etc/containerd");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(open.join("config.toml"), "x").unwrap();
    assert!(root.read(Path::new(FILE)).unwrap().is_some());
    for error in [
        root.read_to_edit(Path::new(FILE)).unwrap_err(),
        root.replace(Path::new(FILE), b"", Access::NEW).unwrap_err(),
    ] {
        assert!(error.to_string().contains("everybody"), "{error}");
    }
}

#[test]
fn folders_that_were_made_are_named_and_missing_things_are_missing() {
    let (folder, root) = root();
    let made = root.make_folder(Path::new("/etc/a/b"), 0o755).unwrap();
    assert_eq!(made, [Path::new("/etc/a"), Path::new("/etc/a/b")]);
    assert!(
        root.make_folder(Path::new("/etc/a/b"), 0o755)
            .unwrap()
            .is_empty()
    );
    assert_eq!(root.names(Path::new("/etc")).unwrap(), ["a", "containerd"]);
    root.remove_empty_folder(Path::new("/etc/a"));
    assert!(root.has("/etc/a/b"), "it was not empty");
    root.remove_empty_folder(Path::new("/etc/a/b"));
    assert!(!root.has("/etc/a/b"));
    assert!(root.names(Path::new("/none")).unwrap().is_empty());
    assert!(root.read(Path::new("/none/x")).unwrap().is_none());
    assert!(!root.is_host());
    assert_eq!(root.outside(Path::new("/etc")), folder.path().join("etc"));
}
