//! Checkpoint and restore, as ctr and containerd do it.

use podhook_integration::suite::{Test, unless};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Node, Outcome, Place, criu, tests};

pub fn tests() -> Vec<Test> {
    [
        unless(
            tests![checkpoint: a_task_ends_with_its_checkpoint],
            by_flags,
        ),
        unless(
            tests![checkpoint: a_checkpoint_becomes_another_container],
            by_criu,
        ),
    ]
    .concat()
}

fn by_criu(place: Place) -> Option<&'static str> {
    if place.runtime.is_crun() {
        return Some("crun checkpoints with libcriu, which the tests do not install");
    }
    criu::works()
        .err()
        .map(|_| "no CRIU that runs on this kernel")
}

fn by_flags(place: Place) -> Option<&'static str> {
    let named = !place.shim.is_podhook() || place.generation >= Generation::V2;
    by_criu(place).or((!named).then_some(
        "ctr of 1.x passes `--image-path` on for io.containerd.runc.v2 only, not for a shim's path or another type",
    ))
}

/// Counts in its output.
const COUNTER: [&str; 3] = [
    "sh",
    "-c",
    "n=0; while :; do n=$((n+1)); echo $n; usleep 50000; done",
];

fn a_task_ends_with_its_checkpoint(node: &Node) -> Outcome {
    let container = node.container("dumped").start(&COUNTER)?;
    container.wait_output("10\n", SOON)?;
    let images = node.containerd().dir().join(container.id());
    let path = images.display().to_string();
    let args = ["task", "checkpoint", "--exit", "--image-path", &path];
    node.ctr().run(&[&args[..], &[container.id()]].concat())?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    assert!(images.join("inventory.img").exists());
    Ok(())
}

fn a_checkpoint_becomes_another_container(node: &Node) -> Outcome {
    let (ctr, events) = (node.ctr(), node.events());
    let first = node.container("first").start(&COUNTER)?;
    first.wait_output("10\n", SOON)?;
    let image = format!("localhost/{}:checkpoint", first.id());
    let parts = ["--task", "--image", "--rw"];
    let args = [
        &["container", "checkpoint"],
        &parts[..],
        &[first.id(), &image],
    ]
    .concat();
    ctr.run(&args)?;
    // It goes on; its checkpoint is another container's beginning.
    assert_eq!(first.status()?, "RUNNING");
    first.kill("SIGKILL")?;
    first.wait_exit(SOON)?;
    first.delete()?;

    let (second, _) = node.container("second").start_command(&COUNTER)?;
    ctr.run(&["container", "restore", "--live", second.id(), &image])?;
    assert_eq!(second.status()?, "RUNNING");
    wait::until_true("the start event", SOON, || {
        events.topics(second.id()) == ["create", "start"]
    })?;
    // What was in its memory is there again, and ctr's exec works in it.
    assert_eq!(second.exec(&["sh", "-c", "exit 4"])?.status, 4);
    second.kill("SIGKILL")?;
    assert_eq!(second.wait_exit(SOON)?, 137);
    assert_eq!(second.delete()?, 137);
    ctr.run(&["image", "rm", &image])?;
    Ok(())
}
