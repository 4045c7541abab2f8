//! Restore: Create with a checkpoint only prepares.

use containerd_shim_protos::api::Status;
use serde_json::json;

use super::fakes::Does;
use super::world::*;

async fn prepared(world: &World, lifecycle: &str) -> Task {
    let mut request = world.request("c1", json!({"podhook.dev/lifecycle": lifecycle}));
    request.checkpoint = "/images".to_owned();
    world.create_by(request).await.unwrap()
}

#[test]
fn a_checkpoint_is_restored_by_start_and_its_post_start_runs() {
    story(async {
        let world = World::new();
        let task = prepared(&world, POST).await;
        assert!(world.calls("c1").is_empty());
        assert_eq!((task.container.pid(), task.status()), (0, Status::CREATED));
        let start = task.start();
        moment().await;
        assert_eq!(world.calls("c1"), ["restore"]);
        assert!(task.hook_ends("post", true));
        assert_eq!(answer(start).await, "ok");
        task.init_exits(5);
        moment().await;
        assert_eq!(world.events("c1"), ["create", "start", "exit 5"]);
    });
}

#[test]
fn a_restore_that_fails_can_be_tried_again() {
    story(async {
        let world = World::new();
        let task = prepared(&world, POST_IGNORED).await;
        task.plan("restore", Does::Fails("criu failed"));
        assert_eq!(
            answer(task.start()).await,
            "UNKNOWN: OCI runtime restore failed: criu failed"
        );
        let start = task.start();
        moment().await;
        task.hook_ends("post", true);
        assert_eq!(answer(start).await, "ok");
        assert_eq!(world.calls("c1"), ["restore", "restore"]);
    });
}

#[test]
fn a_restore_that_says_yes_and_has_made_nothing_fails_and_is_deleted() {
    story(async {
        let world = World::new();
        let task = prepared(&world, POST).await;
        task.plan("restore", Does::Lies);
        assert_says(answer(task.start()).await, "init.pid");
        assert_eq!(world.calls("c1"), ["restore", "delete force"]);
        assert_eq!(world.events("c1"), ["create"]);
    });
}

#[test]
fn delete_of_what_was_never_restored_wakes_who_waits() {
    story(async {
        let world = World::new();
        let task = prepared(&world, POST).await;
        let wait = task.wait("");
        moment().await;
        assert_eq!(answer(task.delete()).await, "ok");
        assert_eq!(wait.await.unwrap().unwrap(), 255);
        assert_eq!(world.events("c1"), ["create", "delete 0"]);
    });
}

#[test]
fn what_was_not_restored_yet_can_not_be_signalled() {
    story(async {
        let world = World::new();
        let task = prepared(&world, POST).await;
        assert_says(
            answer(task.kill(TERM)).await,
            "FAILED_PRECONDITION: process not created",
        );
        assert_eq!(task.status(), Status::CREATED);
    });
}
