//! What is kept, that nothing is left, and that nothing of anybody else's is removed.

use std::os::unix::fs::symlink;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(&dir.path().join("root")).unwrap();
    (dir, store)
}

/// The pod `ns/web`; with a memory volume of this name.
fn pod(volume: Option<&str>) -> Pod {
    let volumes =
        volume.map(|name| serde_json::json!([{"name": name, "emptyDir": {"medium": "Memory"}}]));
    serde_json::from_value(serde_json::json!({
        "metadata": {"namespace": "ns", "name": "web"},
        "spec": {"containers": [], "volumes": volumes},
    }))
    .unwrap()
}

const WEB: Option<(&str, &str)> = Some(("ns", "web"));

fn deletion() -> Deletion {
    Deletion {
        deletion_timestamp: Timestamp::UNIX_EPOCH,
        grace_period_seconds: 2,
    }
}

fn make(store: &Store, uid: &str, pod: &Pod) {
    store.reserve(uid, pod).unwrap().done().unwrap();
}

/// A file that must outlive everything, in a folder that podhook did not make.
fn precious(folder: &Path) -> PathBuf {
    make_dir(folder).unwrap();
    let file = folder.join("precious");
    std::fs::write(&file, "precious").unwrap();
    file
}

#[test]
fn a_pod_that_podhook_did_not_make_has_no_manifest() {
    let (_dir, store) = store();
    assert_eq!(store.pod("uid").unwrap(), None);
    assert_eq!(store.deletion("uid").unwrap(), None);
}

#[test]
fn a_removed_pod_leaves_nothing() {
    let (dir, store) = store();
    make(&store, "uid", &pod(None));
    make_dir(&store.log_dir("ns", "web", "uid")).unwrap();
    make_dir(&store.pod_dir("uid").join("volumes/data/of/the/pod")).unwrap();
    assert!(store.pod("uid").unwrap().is_some());
    store.remove_pod("uid", WEB).unwrap();
    let is_empty = |name: &str| {
        let path = dir.path().join("root").join(name);
        std::fs::read_dir(path).unwrap().next().is_none()
    };
    assert!(is_empty("pods") && is_empty("logs"));
    store
        .remove_pod("uid", WEB)
        .expect("removing twice is no error");
}

#[test]
fn a_pod_is_being_made_until_the_maker_is_done_or_dead() {
    let (_dir, store) = store();
    let reservation = store.reserve("uid", &Pod::default()).unwrap();
    assert!(store.being_made_since("uid").unwrap().is_some());
    assert!(!store.is_abandoned("uid").unwrap());
    drop(reservation);
    assert_eq!(store.being_made_since("uid").unwrap(), None);
    assert!(
        store.is_abandoned("uid").unwrap(),
        "the lock went with the maker, the mark did not"
    );
    make(&store, "uid", &Pod::default());
    assert_eq!(store.being_made_since("uid").unwrap(), None);
    assert!(!store.is_abandoned("uid").unwrap());
    assert_eq!(store.uids().unwrap(), ["uid"]);
}

#[test]
fn saving_a_runtime_class_tells_new_same_and_changed_apart() {
    let (_dir, store) = store();
    let mut class = RuntimeClass {
        handler: "podhook".to_owned(),
        ..Default::default()
    };
    class.metadata.name = Some("hooks".to_owned());
    assert_eq!(store.save_runtime_class(&class).unwrap(), None);
    assert_eq!(store.save_runtime_class(&class).unwrap(), Some(false));
    class.handler = "podhook-2".to_owned();
    assert_eq!(store.save_runtime_class(&class).unwrap(), Some(true));
    assert_eq!(
        store.runtime_class("hooks").unwrap().unwrap().handler,
        "podhook-2"
    );
    assert!(store.remove_runtime_class("hooks").unwrap());
    assert!(!store.remove_runtime_class("hooks").unwrap());
}

#[test]
fn a_uid_that_is_a_path_leads_nowhere() {
    let (dir, store) = store();
    make(&store, "uid", &pod(None));
    let outside = precious(&dir.path().join("outside"));
    let beside = precious(&dir.path().join("root/other"));
    let absolute = dir.path().join("outside").display().to_string();
    let long = "u".repeat(256);
    let bad = [
        "",
        ".",
        "..",
        "../other",
        "../../outside",
        "uid/../../other",
        "uid/",
        "/",
        &absolute,
        "a\0b",
        &long,
    ];
    for uid in bad {
        assert_eq!(store.pod(uid).unwrap(), None, "{uid:?}");
        assert_eq!(store.being_made_since(uid).unwrap(), None, "{uid:?}");
        assert!(!store.is_abandoned(uid).unwrap(), "{uid:?}");
        store
            .mark_deleting(uid, ("ns", "web"), &deletion())
            .unwrap();
        assert_eq!(store.deletion(uid).unwrap(), None, "{uid:?}");
        store.remove_pod(uid, WEB).unwrap();
        store.remove_pod(uid, None).unwrap();
        assert!(store.reserve(uid, &pod(None)).is_err(), "{uid:?}");
    }
    assert!(outside.exists() && beside.exists());
    assert_eq!(
        store.uids().unwrap(),
        ["uid"],
        "nothing was made for them either"
    );
    assert!(store.pod("uid").unwrap().is_some());
    let entries = std::fs::read_dir(dir.path().join("outside")).unwrap();
    assert_eq!(entries.count(), 1);
}

#[test]
fn a_runtime_class_that_is_a_path_leads_nowhere() {
    let (dir, store) = store();
    make(&store, "uid", &pod(None));
    let outside = dir.path().join("root/class.json");
    std::fs::write(&outside, r#"{"handler":"evil","metadata":{}}"#).unwrap();
    assert_eq!(store.runtime_class("../class").unwrap(), None);
    assert!(!store.remove_runtime_class("../class").unwrap());
    assert!(outside.exists());
}

#[test]
fn of_a_pod_that_podhook_did_not_make_only_the_mark_is_removed() {
    let (dir, store) = store();
    // As where --root-dir is the kubelet's own folder by mistake.
    let data = precious(&dir.path().join("root/pods/theirs/volumes"));
    let log = precious(&dir.path().join("root/logs/ns_web_theirs"));
    store
        .mark_deleting("theirs", ("ns", "web"), &deletion())
        .unwrap();
    store
        .mark_deleting("nothing", ("ns", "web"), &deletion())
        .unwrap();
    assert!(store.deletion("theirs").unwrap().is_some());
    for uid in ["theirs", "nothing"] {
        store.remove_pod(uid, WEB).unwrap();
        assert_eq!(store.deletion(uid).unwrap(), None);
    }
    assert!(data.exists() && log.exists());
    assert_eq!(store.uids().unwrap(), ["theirs"], "an empty folder goes");
}

#[test]
fn a_pod_with_the_uid_of_another_is_not_that_one() {
    let (_dir, store) = store();
    make(&store, "uid", &pod(None));
    let data = precious(&store.pod_dir("uid").join("volumes/data"));
    assert_eq!(store.pod_named("uid", "ns", "thief").unwrap(), None);
    store
        .mark_deleting("uid", ("ns", "thief"), &deletion())
        .unwrap();
    store.remove_pod("uid", Some(("ns", "thief"))).unwrap();
    assert!(data.exists());
    assert_eq!(store.deletion_named("uid", "ns", "web").unwrap(), None);
}

#[test]
fn links_of_a_container_are_removed_and_not_followed() {
    let (dir, store) = store();
    let outside = precious(&dir.path().join("outside"));
    make(&store, "uid", &pod(None));
    let volume = store.pod_dir("uid").join("volumes/data");
    make_dir(&volume).unwrap();
    symlink(dir.path().join("outside"), volume.join("folder")).unwrap();
    symlink(&outside, volume.join("file")).unwrap();
    // A log folder that was put elsewhere.
    make_dir(&dir.path().join("root/logs")).unwrap();
    symlink(
        dir.path().join("outside"),
        store.log_dir("ns", "web", "uid"),
    )
    .unwrap();
    store.remove_pod("uid", WEB).unwrap();
    assert!(outside.exists());
    assert!(!store.pod_dir("uid").exists());
    assert!(std::fs::symlink_metadata(store.log_dir("ns", "web", "uid")).is_err());
}

#[test]
fn a_pods_folder_that_is_a_link_is_an_error() {
    let (dir, store) = store();
    let outside = precious(&dir.path().join("outside"));
    make(&store, "other", &pod(None));
    symlink(dir.path().join("outside"), store.pod_dir("uid")).unwrap();
    assert!(store.remove_pod("uid", WEB).is_err());
    assert!(outside.exists());
}

/// A root folder through a link: mountinfo knows it by another path.
fn linked() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    make_dir(&dir.path().join("real")).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    let store = Store::new(&dir.path().join("link")).unwrap();
    (dir, store)
}

fn tmpfs(on: &Path) {
    make_dir(on).unwrap();
    mount("tmpfs", on, "tmpfs", MountFlags::empty(), None).expect("root mounts");
}

#[test]
fn what_is_mounted_in_a_volume_is_not_removed_though_the_root_is_a_link() {
    let (dir, store) = linked();
    make(&store, "uid", &pod(None));
    let outside = precious(&dir.path().join("outside"));
    let inside = store.pod_dir("uid").join("volumes/data/mnt");
    let kept = precious(&store.pod_dir("uid").join("volumes/data"));
    make_dir(&inside).unwrap();
    rustix::mount::mount_bind(dir.path().join("outside"), &inside).expect("root mounts");
    let refused = store.remove_pod("uid", WEB).unwrap_err().to_string();
    unmount(&inside, UnmountFlags::empty()).unwrap();
    assert!(
        refused.contains("volumes/data/mnt is still mounted"),
        "{refused}"
    );
    assert!(
        outside.exists() && kept.exists(),
        "nothing at all was removed"
    );
    store.remove_pod("uid", WEB).unwrap();
    assert!(!store.pod_dir("uid").exists() && outside.exists());
}

#[test]
fn a_mount_that_the_table_does_not_show_is_not_crossed() {
    let (dir, store) = store();
    let outside = precious(&dir.path().join("outside"));
    let folder = dir.path().join("root/tree/below");
    make_dir(&folder).unwrap();
    rustix::mount::mount_bind(dir.path().join("outside"), &folder).expect("root mounts");
    // Without the look at the table beforehand.
    let root = Folder::open(&dir.path().join("root")).unwrap().unwrap();
    let refused = removal::remove(&root, Name::of("tree").unwrap()).unwrap_err();
    unmount(&folder, UnmountFlags::empty()).unwrap();
    assert!(matches!(refused, Error::Mounted { .. }), "{refused}");
    assert!(outside.exists());
    drop(store);
}

#[test]
fn a_memory_volume_is_unmounted_and_another_mount_in_its_place_is_not() {
    let (_dir, store) = linked();
    make(&store, "uid", &pod(Some("cache")));
    let volumes = store.pod_dir("uid").join("volumes");
    tmpfs(&volumes.join("cache"));
    std::fs::write(volumes.join("cache/file"), "x").unwrap();
    tmpfs(&volumes.join("theirs"));
    let refused = store.remove_pod("uid", WEB).unwrap_err().to_string();
    unmount(volumes.join("theirs"), UnmountFlags::empty()).unwrap();
    assert!(
        refused.contains("volumes/theirs is still mounted"),
        "{refused}"
    );
    store.remove_pod("uid", WEB).unwrap();
    assert!(!store.pod_dir("uid").exists());
}

#[test]
fn a_tree_deeper_than_any_path_goes_too() {
    let (_dir, store) = store();
    make(&store, "uid", &pod(None));
    let volume = store.pod_dir("uid").join("volumes/data");
    make_dir(&volume).unwrap();
    // More than descriptors, more than PATH_MAX, and more than a stack.
    let mut at = rustix::fs::open(
        &volume,
        rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    for _ in 0..5000 {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
        at = rustix::fs::openat(
            &at,
            "d",
            rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
    }
    drop(at);
    store.remove_pod("uid", WEB).unwrap();
    assert!(!store.pod_dir("uid").exists());
}

#[test]
fn a_relative_root_is_made_absolute() {
    let store = Store::new(Path::new("some/where")).unwrap();
    assert!(store.pod_dir("uid").is_absolute());
    assert!(store.pod_dir("uid").ends_with("some/where/pods/uid"));
    assert!(Store::new(Path::new("")).is_err());
}
