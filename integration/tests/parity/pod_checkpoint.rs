//! A checkpoint of a pod's container, as `crictl checkpoint` and the kubelet ask for it.

use podhook_integration::command::stdout_of;
use podhook_integration::cri::v1;
use podhook_integration::suite::{Test, unless};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Node, Outcome, Place, criu, tests};

pub fn tests() -> Vec<Test> {
    unless(
        tests![pod_checkpoint: a_checkpoint_is_an_archive_and_the_container_goes_on],
        reason,
    )
}

fn reason(place: Place) -> Option<&'static str> {
    if place.generation < Generation::V2 {
        return Some("CRI of containerd 1.x has no CheckpointContainer");
    }
    if place.runtime.is_crun() {
        return Some("crun checkpoints with libcriu, which the tests do not install");
    }
    let works = criu::works();
    works.err().map(|_| "no CRIU that runs on this kernel")
}

/// Counts in its output.
const COUNTER: [&str; 3] = [
    "sh",
    "-c",
    "n=0; while :; do n=$((n+1)); echo $n; usleep 50000; done",
];

fn a_checkpoint_is_an_archive_and_the_container_goes_on(node: &Node) -> Outcome {
    let pod = node.pod("dumped").run()?;
    let container = pod.container("main").command(&COUNTER).start()?;
    container.exec(&["sh", "-c", "echo changed > /changed; echo x > /dev/shm/x"])?;
    container.wait_log("10", SOON)?;
    let archive = node.containerd().dir().join(container.id());
    let archive = archive.with_extension("tar").display().to_string();
    let request = v1::CheckpointContainerRequest {
        container_id: container.id().to_owned(),
        location: archive.clone(),
        timeout: 60,
    };
    node.containerd().cri()?.checkpoint_container(request)?;
    let names = stdout_of("tar", &["-tf", &archive])?;
    for name in [
        "checkpoint/inventory.img",
        "config.dump",
        "spec.dump",
        "status.dump",
        "rootfs-diff.tar",
        "container.log",
    ] {
        assert!(names.lines().any(|line| line == name), "{name}: {names}");
    }
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    let lines = container.log()?.len();
    wait::until_true("the counter to go on", SOON, || {
        container.log().is_ok_and(|log| log.len() > lines + 5)
    })?;
    assert_eq!(container.exec(&["cat", "/changed"])?, "changed\n");
    assert_eq!(pod.state()?, "SANDBOX_READY");
    Ok(())
}
