//! Checkpoint and restore, as ctr and containerd do it.

use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Node, Outcome, criu, tests};

pub fn tests() -> Vec<Test> {
    tests![checkpoint:
        a_task_ends_with_its_checkpoint,
        a_checkpoint_becomes_another_container,
    ]
}

/// Counts in its output.
const COUNTER: [&str; 3] = [
    "sh",
    "-c",
    "n=0; while :; do n=$((n+1)); echo $n; usleep 50000; done",
];

/// Says why where CRIU does not run here.
fn possible() -> bool {
    criu::works()
        .inspect_err(|why| eprintln!("checkpoint and restore are not tested: {why}"))
        .is_ok()
}

fn a_task_ends_with_its_checkpoint(node: &Node) -> Outcome {
    if !possible() {
        return Ok(());
    }
    if node.shim().is_podhook() && node.containerd().generation() != Generation::V2 {
        // ctr of 1.x passes these flags on for `io.containerd.runc.v2` only, and podhook goes by its path there.
        return Ok(());
    }
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
    if !possible() {
        return Ok(());
    }
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
    assert_eq!(
        second.exec(&["sh", "-c", "usleep 100000; exit 4"])?.status,
        4
    );
    second.kill("SIGKILL")?;
    assert_eq!(second.wait_exit(SOON)?, 137);
    assert_eq!(second.delete()?, 137);
    ctr.run(&["image", "rm", &image])?;
    Ok(())
}
