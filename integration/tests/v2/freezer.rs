//! Paused containers.

use podhook_integration::suite::Test;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};

use crate::cgroup;

pub fn tests() -> Vec<Test> {
    tests![freezer:
        a_paused_task_dies_of_sigkill,
        pause_freezes_the_cgroup,
    ]
}

fn pause_freezes_the_cgroup(node: &Node) -> Outcome {
    let container = node.container("frozen").start(&["sleep", "600"])?;
    let own = cgroup::of_container(&container)?;
    let frozen = || cgroup::read(&own, "cgroup.events").map(|text| text.contains("frozen 1"));
    assert!(!frozen()?);
    node.ctr().pause(container.id())?;
    assert!(frozen()?);
    let metrics = node.ctr().run(&["task", "metrics", container.id()])?;
    assert!(metrics.contains("pids.current"), "{metrics}");
    node.ctr().run(&["task", "resume", container.id()])?;
    assert!(!frozen()?);
    assert_eq!(container.exec(&["true"])?.status, 0);
    Ok(())
}

fn a_paused_task_dies_of_sigkill(node: &Node) -> Outcome {
    let container = node.container("frozen").start(&["sleep", "600"])?;
    node.ctr().pause(container.id())?;
    container.kill("SIGKILL")?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    assert_eq!(container.delete()?, 137);
    Ok(())
}
