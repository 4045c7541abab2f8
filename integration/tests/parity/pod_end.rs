//! How the containers of a pod end, and what CRI says of it.

use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::cri::v1;
use podhook_integration::node::PodContainer;
use podhook_integration::suite::{Test, unless};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Node, Outcome, ShimKind, tests};

pub fn tests() -> Vec<Test> {
    let mut all = tests![pod_end:
        an_end_by_a_signal_is_128_and_the_signal,
        a_sigkill_from_the_node_is_137_and_not_oom_killed,
        a_container_that_ends_at_once_is_completed,
        stopping_twice_is_no_error,
        stopping_what_has_ended_keeps_its_status,
        stopping_what_never_started_is_no_error,
        two_stops_at_once_both_see_the_end,
        a_stop_without_grace_cuts_another_short,
        removing_a_running_container_ends_it,
        removing_twice_is_no_error,
        stopping_the_pod_twice_is_no_error,
        a_running_pod_is_removed_by_force,
        a_pod_without_containers_comes_and_goes,
        the_pod_is_not_ready_once_its_sandbox_has_died,
        an_exec_in_flight_ends_with_its_container,
        a_new_attempt_runs_beside_the_record_of_the_old,
        six_containers_of_a_pod_start_and_stop_at_once,
        four_pods_at_once_do_not_disturb_each_other,
    ];
    all.extend(unless(
        tests![pod_end: containers_outlive_a_dead_sandbox_process_until_the_pod_is_stopped],
        |place| {
            (place.generation >= Generation::V2 && place.shim == ShimKind::Runc)
                .then_some("the original of 2.x leaves its socket behind")
        },
    ));
    all
}

const SLEEP: [&str; 2] = ["sleep", "600"];

/// Does not end on SIGTERM.
const STUBBORN: [&str; 3] = [
    "sh",
    "-c",
    "trap '' TERM; echo ready; while :; do sleep 1; done",
];

fn reason(
    container: &PodContainer<'_>,
) -> Result<(i32, String), Box<dyn std::error::Error + Send + Sync>> {
    let status = container.wait_exit(SOON)?;
    Ok((status.exit_code, status.reason))
}

fn an_end_by_a_signal_is_128_and_the_signal(node: &Node) -> Outcome {
    // The first process of a pid namespace takes no signal that it has no handler for: the pod's namespace has
    // the sandbox's process as its first.
    let pod = node.pod("signal").shared_pid().run()?;
    for (name, signal) in [("usr1", 10), ("abrt", 6), ("term", 15)] {
        let script = format!("kill -{signal} $$");
        let container = pod
            .container(name)
            .shared_pid()
            .command(&["sh", "-c", &script])
            .start()?;
        assert_eq!(reason(&container)?, (128 + signal, "Error".to_owned()));
    }
    Ok(())
}

fn a_sigkill_from_the_node_is_137_and_not_oom_killed(node: &Node) -> Outcome {
    let pod = node.pod("killed").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    kill(Pid::from_raw(container.pid()?), Signal::SIGKILL)?;
    assert_eq!(reason(&container)?, (137, "Error".to_owned()));
    Ok(())
}

fn a_container_that_ends_at_once_is_completed(node: &Node) -> Outcome {
    let pod = node.pod("at-once").run()?;
    for n in 0..3 {
        let name = format!("true-{n}");
        let container = pod.container(&name).command(&["true"]).start()?;
        let status = container.wait_exit(SOON)?;
        assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
        assert!(
            status.started_at > 0 && status.finished_at > 0,
            "{status:?}"
        );
        let events = container.events();
        assert_eq!(events[..3], ["create", "start", "exit"]);
    }
    Ok(())
}

fn stopping_twice_is_no_error(node: &Node) -> Outcome {
    let pod = node.pod("twice").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    container.stop(0)?;
    container.stop(10)?;
    assert_eq!(container.status()?.exit_code, 137);
    Ok(())
}

fn stopping_what_has_ended_keeps_its_status(node: &Node) -> Outcome {
    let pod = node.pod("ended").run()?;
    let container = pod
        .container("main")
        .command(&["sh", "-c", "exit 4"])
        .start()?;
    container.wait_exit(SOON)?;
    container.stop(10)?;
    assert_eq!(reason(&container)?, (4, "Error".to_owned()));
    Ok(())
}

fn stopping_what_never_started_is_no_error(node: &Node) -> Outcome {
    let pod = node.pod("never").run()?;
    let container = pod.container("main").command(&SLEEP).create()?;
    container.stop(10)?;
    assert_eq!(container.state()?, "CONTAINER_CREATED");
    container.remove()?;
    Ok(())
}

fn two_stops_at_once_both_see_the_end(node: &Node) -> Outcome {
    let pod = node.pod("both").run()?;
    let script = "trap 'exit 3' TERM; echo ready; while :; do usleep 20000; done";
    let container = pod
        .container("main")
        .command(&["sh", "-c", script])
        .start()?;
    container.wait_log("ready", SOON)?;
    thread::scope(|scope| {
        let stops = [0, 1].map(|_| scope.spawn(|| container.stop(20)));
        for stop in stops {
            stop.join().map_err(|_| "a stop panicked")??;
        }
        assert_eq!(container.status()?.exit_code, 3);
        Ok(())
    })
}

fn a_stop_without_grace_cuts_another_short(node: &Node) -> Outcome {
    let pod = node.pod("short").run()?;
    let container = pod.container("main").command(&STUBBORN).start()?;
    container.wait_log("ready", SOON)?;
    thread::scope(|scope| {
        // Longer than the call may take.
        let patient = scope.spawn(|| container.stop(600));
        thread::sleep(Duration::from_millis(300));
        assert_eq!(container.state()?, "CONTAINER_RUNNING");
        container.stop(0)?;
        patient.join().map_err(|_| "the stop panicked")??;
        assert_eq!(container.status()?.exit_code, 137);
        Ok(())
    })
}

fn removing_a_running_container_ends_it(node: &Node) -> Outcome {
    let pod = node.pod("remove").run()?;
    let container = pod.container("main").command(&STUBBORN).start()?;
    container.wait_log("ready", SOON)?;
    container.remove()?;
    let error = container.status().err().ok_or("it is still there")?;
    assert!(error.message().contains("not found"), "{error}");
    Ok(())
}

fn removing_twice_is_no_error(node: &Node) -> Outcome {
    let pod = node.pod("remove-twice").run()?;
    let container = pod.container("main").command(&["true"]).start()?;
    container.wait_exit(SOON)?;
    container.remove()?;
    container.remove()?;
    Ok(())
}

fn stopping_the_pod_twice_is_no_error(node: &Node) -> Outcome {
    let pod = node.pod("stop-twice").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    pod.stop()?;
    pod.stop()?;
    assert_eq!(pod.state()?, "SANDBOX_NOTREADY");
    assert_eq!(container.status()?.exit_code, 137);
    Ok(())
}

fn a_running_pod_is_removed_by_force(node: &Node) -> Outcome {
    let pod = node.pod("force").run()?;
    pod.container("main").command(&STUBBORN).start()?;
    pod.container("created").command(&SLEEP).create()?;
    pod.remove_by_force()?;
    let list = node
        .containerd()
        .cri()?
        .list_pod_sandbox(v1::ListPodSandboxRequest::default())?;
    assert!(
        list.items.iter().all(|item| item.id != pod.id()),
        "{list:?}"
    );
    Ok(())
}

fn a_pod_without_containers_comes_and_goes(node: &Node) -> Outcome {
    let pod = node.pod("empty").run()?;
    assert_eq!(pod.state()?, "SANDBOX_READY");
    pod.stop()?;
    assert_eq!(pod.state()?, "SANDBOX_NOTREADY");
    pod.remove()?;
    Ok(())
}

fn the_pod_is_not_ready_once_its_sandbox_has_died(node: &Node) -> Outcome {
    let pod = node.pod("dead").run()?;
    kill(Pid::from_raw(pod.pid()?), Signal::SIGKILL)?;
    wait::until_true("the pod not to be ready", SOON, || {
        pod.state().is_ok_and(|state| state == "SANDBOX_NOTREADY")
    })?;
    Ok(())
}

fn containers_outlive_a_dead_sandbox_process_until_the_pod_is_stopped(node: &Node) -> Outcome {
    let pod = node.pod("orphans").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    kill(Pid::from_raw(pod.pid()?), Signal::SIGKILL)?;
    wait::until_true("the pod not to be ready", SOON, || {
        pod.state().is_ok_and(|state| state == "SANDBOX_NOTREADY")
    })?;
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    assert_eq!(container.exec(&["echo", "here"])?, "here\n");
    pod.stop()?;
    assert_eq!(container.wait_exit(SOON)?.exit_code, 137);
    Ok(())
}

fn an_exec_in_flight_ends_with_its_container(node: &Node) -> Outcome {
    let pod = node.pod("in-flight").run()?;
    let container = pod.container("main").command(&SLEEP).start()?;
    thread::scope(|scope| {
        let exec =
            scope.spawn(|| container.exec_within(60, &["sh", "-c", "echo > /tmp/here; sleep 600"]));
        wait::until_true("the exec to run", SOON, || {
            container.exec(&["ls", "/tmp/here"]).is_ok()
        })?;
        container.stop(0)?;
        let answer = exec.join().map_err(|_| "the exec panicked")??;
        assert_eq!(answer.exit_code, 137);
        Ok(())
    })
}

fn a_new_attempt_runs_beside_the_record_of_the_old(node: &Node) -> Outcome {
    let pod = node.pod("attempts").run()?;
    let attempt = |n| {
        pod.container("main")
            .config(|config| config.metadata.get_or_insert_default().attempt = n)
            .config(|config| config.log_path = format!("main-{n}.log"))
    };
    let first = attempt(0).command(&["sh", "-c", "exit 9"]).start()?;
    first.wait_exit(SOON)?;
    let second = attempt(1).command(&SLEEP).start()?;
    assert_eq!(first.status()?.exit_code, 9);
    assert_eq!(second.state()?, "CONTAINER_RUNNING");
    first.remove()?;
    assert_eq!(second.exec(&["echo", "still here"])?, "still here\n");
    Ok(())
}

fn six_containers_of_a_pod_start_and_stop_at_once(node: &Node) -> Outcome {
    let pod = node.pod("six").run()?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|n| {
                let pod = &pod;
                scope.spawn(move || -> Outcome {
                    let name = format!("c{n}");
                    let script =
                        format!("trap 'exit {n}' TERM; echo ready; while :; do usleep 20000; done");
                    let container = pod
                        .container(&name)
                        .command(&["sh", "-c", &script])
                        .start()?;
                    container.wait_log("ready", SOON)?;
                    assert_eq!(container.exec(&["echo", &name])?, format!("{name}\n"));
                    container.stop(60)?;
                    assert_eq!(container.status()?.exit_code, n);
                    container.remove()?;
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread
                .join()
                .map_err(|_| "a container's thread panicked")??;
        }
        Ok(())
    })
}

fn four_pods_at_once_do_not_disturb_each_other(node: &Node) -> Outcome {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn(move || -> Outcome {
                    let pod = node.pod("four").run()?;
                    let script = format!("echo {n}; exit {n}");
                    let container = pod
                        .container("main")
                        .command(&["sh", "-c", &script])
                        .start()?;
                    assert_eq!(container.wait_exit(SOON)?.exit_code, n);
                    container.wait_log(&n.to_string(), SOON)?;
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a pod's thread panicked")??;
        }
        Ok(())
    })
}
