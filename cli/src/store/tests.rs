//! What is kept, and that nothing is left.

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("root"));
    (dir, store)
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
    store
        .reserve("uid", &Pod::default())
        .unwrap()
        .done()
        .unwrap();
    make_dir(&store.log_dir("ns", "web", "uid")).unwrap();
    assert!(store.pod("uid").unwrap().is_some());
    store.remove_pod("ns", "web", "uid").unwrap();
    assert!(
        std::fs::read_dir(dir.path().join("root/pods"))
            .unwrap()
            .next()
            .is_none()
    );
    assert!(
        std::fs::read_dir(dir.path().join("root/logs"))
            .unwrap()
            .next()
            .is_none()
    );
    store
        .remove_pod("ns", "web", "uid")
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
    store
        .reserve("uid", &Pod::default())
        .unwrap()
        .done()
        .unwrap();
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
