//! containerd killed and started again while containers run.

use std::fs;

use podhook_integration::suite::{Test, own_containerd};
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Node, Outcome, ShimKind, tests};

pub fn tests() -> Vec<Test> {
    own_containerd(tests![restart:
        a_task_outlives_containerd_and_keeps_its_exit_status,
        an_exit_while_containerd_is_away_is_not_lost,
        a_pod_outlives_containerd_and_keeps_its_exit_status,
    ])
}

/// Ends with status 7 once there is a file /tmp/end.
const UNTIL_TOLD: [&str; 3] = [
    "sh",
    "-c",
    "while [ ! -e /tmp/end ]; do usleep 20000; done; exit 7",
];

fn a_task_outlives_containerd_and_keeps_its_exit_status(node: &Node) -> Outcome {
    let container = node.container("survivor").start(&UNTIL_TOLD)?;
    let before = container.task()?;
    node.containerd().crash()?;
    assert_eq!(container.task()?, before);
    // Its own status does not matter: it may die with the container before it has ended.
    container.exec(&["touch", "/tmp/end"])?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    assert_eq!(container.delete()?, 7);
    Ok(())
}

fn an_exit_while_containerd_is_away_is_not_lost(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let script = "until [ -e /trace/end ]; do usleep 20000; done; exit 7";
    let container = node
        .container("alone")
        .flag(["--mount", &trace.mount()])
        .start(&["sh", "-c", script])?;
    let pid = container.task()?.ok_or("no task")?.pid;
    node.containerd().kill9()?;
    fs::write(trace.dir().join("end"), "")?;
    // A dead process has no command line any more.
    wait::until_true("its end", SOON, || {
        fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty())
    })?;
    node.containerd().up()?;
    if node.shim() == ShimKind::Runc && node.containerd().generation() != Generation::V1_6 {
        // From 1.7 on containerd ends a shim that lists no process any more, as the original does then.
        // 2.4 shows the task until that shim has ended.
        return Ok(wait::until_true("the task to be gone", SOON, || {
            container.status().is_ok_and(|status| status.is_empty())
        })?);
    }
    // Not by its event: the shim may send that again before the test's own subscription is back.
    assert_eq!(container.status()?, "STOPPED");
    assert_eq!(container.delete()?, 7);
    Ok(())
}

fn a_pod_outlives_containerd_and_keeps_its_exit_status(node: &Node) -> Outcome {
    let pod = node.pod("survivor").run()?;
    let container = pod.container("main").command(&UNTIL_TOLD).start()?;
    let other = pod.container("other").command(&["sleep", "600"]).start()?;
    node.containerd().crash()?;
    assert_eq!(
        (container.state()?, other.state()?),
        ("CONTAINER_RUNNING", "CONTAINER_RUNNING")
    );
    container.exec_within(60, &["touch", "/tmp/end"])?;
    assert_eq!(container.wait_exit(SOON)?.exit_code, 7);
    wait::until_true("the exit event", SOON, || {
        container.events().contains(&"exit".to_owned())
    })?;
    other.stop(0)?;
    assert_eq!(other.status()?.exit_code, 137);
    Ok(())
}
