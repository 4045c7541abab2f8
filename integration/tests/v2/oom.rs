//! What the kernel kills for want of memory.

use podhook_integration::suite::Test;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};

use crate::cgroup;

pub fn tests() -> Vec<Test> {
    tests![oom:
        an_oom_kill_is_reported_before_the_exit_it_caused,
        an_oom_kill_of_a_child_leaves_the_task_running,
    ]
}

fn an_oom_kill_is_reported_before_the_exit_it_caused(node: &Node) -> Outcome {
    for _ in 0..3 {
        let container = node
            .container("oom")
            .flag(["--memory-limit", "33554432"])
            .start(&[
                "sh",
                "-c",
                "until [ -e /tmp/go ]; do usleep 20000; done; exec tail -c 200000000 /dev/zero",
            ])?;
        // Not before it has started: the original does not look yet. The exec may end with its container.
        drop(container.exec(&["touch", "/tmp/go"]));
        assert_eq!(container.wait_exit(SOON)?, 137);
        // The original reports it before or after, or not at all where systemd has removed the cgroup first.
        if node.shim().is_podhook() {
            let events = node.events().of(container.id());
            let oom = events.iter().position(|event| event.topic == "/tasks/oom");
            let exit = events.iter().position(|event| {
                event.topic == "/tasks/exit" && event.process_id() == container.id()
            });
            assert!(oom.is_some() && oom < exit, "{events:?}");
        }
        container.delete()?;
    }
    Ok(())
}

fn an_oom_kill_of_a_child_leaves_the_task_running(node: &Node) -> Outcome {
    let container = node
        .container("child")
        .flag(["--memory-limit", "33554432"])
        .start(&[
            "sh",
            "-c",
            "tail -c 200000000 /dev/zero; echo $?; exec sleep 600",
        ])?;
    node.events().wait(container.id(), "oom", SOON)?;
    container.wait_output("137\n", SOON)?;
    assert_eq!(container.status()?, "RUNNING");
    let own = cgroup::of_container(&container)?;
    let events = cgroup::read(&own, "memory.events")?;
    assert!(events.contains("\noom_kill 1"), "{events}");
    Ok(())
}
