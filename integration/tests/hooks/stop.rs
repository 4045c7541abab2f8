//! preStop and the kill sequence, seen through CRI: the client owns the grace period.

use std::thread;
use std::time::{Duration, Instant};

use podhook_integration::cri::v1;
use podhook_integration::node::{Pod, PodContainer};
use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::Recorded;
use crate::script::{
    Command, Error, anywhere, exec, held, marks, own_sleep, polite, server, stubborn, words,
};

pub fn tests() -> Vec<Test> {
    tests![stop:
        the_signal_follows_the_hook_and_a_second_stop_starts_no_second_one,
        a_hook_of_two_seconds_delays_the_signal_by_two_seconds,
        the_clients_sigkill_ends_hook_and_container_with_what_the_hook_left,
        a_hook_longer_than_the_pods_grace_period_leaves_two_seconds_for_the_signal,
        the_client_kills_at_the_end_of_its_grace_period,
        the_lifecycles_own_grace_period_is_kept_by_the_shim,
        stop_without_grace_runs_no_hook,
        every_signal_is_a_stop_signal,
        the_lifecycles_stop_signal_replaces_the_images,
        a_failing_hook_is_recorded_and_the_signal_is_sent,
        the_hook_does_not_run_for_a_container_that_ends_by_itself,
        stopping_the_pod_runs_no_hook,
    ]
}

/// A container of the pod, once it has left the mark `ready`.
fn start<'a>(
    pod: &'a Pod<'_>,
    trace: &Trace,
    lifecycle: &Value,
    command: &Command,
) -> Result<PodContainer<'a>, Error> {
    let container = pod
        .container("main")
        .annotation("podhook.dev/lifecycle", &lifecycle.to_string())
        .host_path(trace.dir(), "/trace")
        .command(&words(command))
        .start()?;
    trace.wait("ready")?;
    Ok(container)
}

/// Stops it in a thread while `meanwhile` runs; gives how long the stop took.
fn stop_while(
    container: &PodContainer<'_>,
    grace: i64,
    meanwhile: impl FnOnce() -> Outcome,
) -> Result<Duration, Error> {
    thread::scope(|scope| {
        let stopping = scope.spawn(|| {
            let start = Instant::now();
            container.stop(grace).map(|()| start.elapsed())
        });
        let outcome = meanwhile();
        let elapsed = stopping.join().map_err(|_| "stop panicked")?;
        outcome?;
        Ok(elapsed?)
    })
}

fn the_signal_follows_the_hook_and_a_second_stop_starts_no_second_one(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?});
    let pod = node.pod("stop").run()?;
    let container = start(&pod, &trace, &lifecycle, &polite())?;
    stop_while(&container, 60, || {
        trace.wait("hook-begin")?;
        assert_eq!(container.recorded()?.phase(), "PreStop");
        // containerd itself sends no second signal, but repeats the first after its own restart.
        let ctr = node.containerd().ctr_in("k8s.io");
        ctr.run(&["task", "kill", "-s", "SIGTERM", container.id()])?;
        thread::sleep(Duration::from_millis(300));
        assert_eq!(trace.marks(), ["ready", "hook-begin"]);
        assert_eq!(container.state()?, "CONTAINER_RUNNING");
        assert_eq!(container.exec(&["echo", "alive"])?, "alive\n");
        Ok(trace.release("hook")?)
    })?;
    assert_eq!(
        trace.marks(),
        ["ready", "hook-begin", "hook-end", "got-TERM"]
    );
    assert_eq!(container.status()?.exit_code, 7);
    Ok(())
}

fn a_hook_of_two_seconds_delays_the_signal_by_two_seconds(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": {"sleep": {"seconds": 2}}});
    let pod = node.pod("two").run()?;
    let container = start(&pod, &trace, &lifecycle, &polite())?;
    let elapsed = stop_while(&container, 60, || Ok(()))?;
    assert!(elapsed >= Duration::from_secs(2), "{elapsed:?}");
    let status = container.status()?;
    assert_eq!(status.exit_code, 7);
    assert_eq!(trace.marks(), ["ready", "got-TERM"]);
    Ok(())
}

fn the_clients_sigkill_ends_hook_and_container_with_what_the_hook_left(node: &Node) -> Outcome {
    // One process namespace for the pod: the kernel does not end what outlives the container's first process.
    let pod = node
        .pod("killed")
        .config(|config| {
            let options = v1::NamespaceOption {
                pid: v1::NamespaceMode::Pod.into(),
                ..Default::default()
            };
            let linux = config.linux.get_or_insert_default();
            linux
                .security_context
                .get_or_insert_default()
                .namespace_options = Some(options);
        })
        .run()?;
    let trace = Trace::new(node)?;
    // Twice forked, in a session of its own: no child of the hook any more.
    let unique = own_sleep();
    let script = format!(
        "(setsid {unique} >/dev/null 2>&1 &); {}",
        trace.hold("hook")?
    );
    let container = pod
        .container("main")
        .annotation(
            "podhook.dev/lifecycle",
            &json!({"preStop": exec(&script)}).to_string(),
        )
        .host_path(trace.dir(), "/trace")
        .config(|config| {
            let options = v1::NamespaceOption {
                pid: v1::NamespaceMode::Pod.into(),
                ..Default::default()
            };
            let linux = config.linux.get_or_insert_default();
            linux
                .security_context
                .get_or_insert_default()
                .namespace_options = Some(options);
        })
        .command(&words(&polite()))
        .start()?;
    trace.wait("ready")?;
    stop_while(&container, 60, || {
        trace.wait("hook-begin")?;
        podhook_integration::wait::until_true("the hook's grandchild", SOON, || {
            anywhere(&unique) == 1
        })?;
        container.stop(0)?;
        Ok(())
    })?;
    assert_eq!(container.status()?.exit_code, 137);
    assert_eq!(trace.marks(), ["ready", "hook-begin"]);
    // It is killed by then, and dies when it gets the processor.
    podhook_integration::wait::until_true("the grandchild's end", SOON, || anywhere(&unique) == 0)?;
    Ok(())
}

fn a_hook_longer_than_the_pods_grace_period_leaves_two_seconds_for_the_signal(
    node: &Node,
) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?});
    let pod = node.pod("cut").run()?;
    let container = pod
        .container("main")
        .annotation("podhook.dev/lifecycle", &lifecycle.to_string())
        .annotation("io.kubernetes.pod.terminationGracePeriod", "5")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .start()?;
    trace.wait("ready")?;
    let elapsed = stop_while(&container, 60, || Ok(()))?;
    assert!(elapsed >= Duration::from_secs(3), "{elapsed:?}");
    assert_eq!(trace.marks(), ["ready", "hook-begin", "got-TERM"]);
    assert_eq!(container.status()?.exit_code, 7);
    Ok(())
}

fn the_client_kills_at_the_end_of_its_grace_period(node: &Node) -> Outcome {
    // The pod's own period is over first, but `kubectl delete --grace-period` may have asked for more.
    let trace = Trace::new(node)?;
    let pod = node.pod("client").run()?;
    let container = pod
        .container("main")
        .annotation(
            "podhook.dev/lifecycle",
            &json!({"preStop": marks("hook")}).to_string(),
        )
        .annotation("io.kubernetes.pod.terminationGracePeriod", "1")
        .host_path(trace.dir(), "/trace")
        .command(&words(&stubborn()))
        .start()?;
    trace.wait("ready")?;
    let elapsed = stop_while(&container, 10, || {
        trace.wait("got-TERM")?;
        thread::sleep(Duration::from_secs(2));
        assert_eq!(container.state()?, "CONTAINER_RUNNING");
        assert_eq!(container.recorded()?.phase(), "Signalled");
        Ok(())
    })?;
    assert!(elapsed >= Duration::from_secs(10), "{elapsed:?}");
    assert_eq!(container.status()?.exit_code, 137);
    Ok(())
}

fn the_lifecycles_own_grace_period_is_kept_by_the_shim(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": marks("hook"), "terminationGracePeriodSeconds": 8});
    let pod = node.pod("own").run()?;
    let container = start(&pod, &trace, &lifecycle, &stubborn())?;
    // The client's own end would be later than its call may take.
    let elapsed = stop_while(&container, 600, || Ok(()))?;
    assert!(elapsed >= Duration::from_secs(8), "{elapsed:?}");
    assert_eq!(container.status()?.exit_code, 137);
    assert_eq!(trace.marks(), ["ready", "hook", "got-TERM"]);
    Ok(())
}

fn stop_without_grace_runs_no_hook(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("no-grace").run()?;
    let container = start(&pod, &trace, &json!({"preStop": marks("hook")}), &polite())?;
    container.stop(0)?;
    assert_eq!(container.status()?.exit_code, 137);
    assert_eq!(trace.marks(), ["ready"]);
    Ok(())
}

fn every_signal_is_a_stop_signal(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("any").run()?;
    let lifecycle = json!({"preStop": marks("hook")});
    let container = start(&pod, &trace, &lifecycle, &server(&["USR1"], &["USR1"]))?;
    // The image's stop signal may be any; CRI has no other use for Kill.
    let ctr = node.containerd().ctr_in("k8s.io");
    ctr.run(&["task", "kill", "-s", "SIGUSR1", container.id()])?;
    assert_eq!(container.wait_exit(SOON)?.exit_code, 7);
    assert_eq!(trace.marks(), ["ready", "hook", "got-USR1"]);
    Ok(())
}

fn the_lifecycles_stop_signal_replaces_the_images(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("signal").run()?;
    let lifecycle = json!({"preStop": marks("hook"), "stopSignal": "SIGUSR2"});
    let both = server(&["TERM", "USR2"], &["TERM", "USR2"]);
    let container = start(&pod, &trace, &lifecycle, &both)?;
    container.stop(60)?;
    assert_eq!(container.status()?.exit_code, 7);
    assert_eq!(trace.marks(), ["ready", "hook", "got-USR2"]);
    Ok(())
}

fn a_failing_hook_is_recorded_and_the_signal_is_sent(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("failing").run()?;
    let lifecycle = json!({"preStop": exec("echo no luck >&2; exit 4")});
    let container = start(&pod, &trace, &lifecycle, &stubborn())?;
    stop_while(&container, 10, || {
        trace.wait("got-TERM")?;
        // The signal goes out before the record is written.
        let record =
            container.wait_record("Signalled", SOON, |record| record.phase() == "Signalled")?;
        let hook = record.hook("preStop")?;
        assert_eq!(
            (hook.text("/result"), hook.number("/exitCode")),
            ("Failed", Some(4))
        );
        assert_eq!(hook.text("/output"), "no luck\n");
        Ok(())
    })?;
    assert_eq!(container.status()?.exit_code, 137);
    Ok(())
}

fn the_hook_does_not_run_for_a_container_that_ends_by_itself(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("own-end").run()?;
    let container = pod
        .container("main")
        .annotation(
            "podhook.dev/lifecycle",
            &json!({"preStop": marks("hook")}).to_string(),
        )
        .host_path(trace.dir(), "/trace")
        .command(&["sh", "-c", "exit 5"])
        .start()?;
    assert_eq!(container.wait_exit(SOON)?.exit_code, 5);
    container.stop(20)?;
    assert!(trace.marks().is_empty());
    Ok(())
}

fn stopping_the_pod_runs_no_hook(node: &Node) -> Outcome {
    // The kubelet has stopped the containers before; what is left is killed.
    let trace = Trace::new(node)?;
    let pod = node.pod("pod").run()?;
    let container = start(&pod, &trace, &json!({"preStop": marks("hook")}), &polite())?;
    pod.stop()?;
    assert_eq!(container.wait_exit(SOON)?.exit_code, 137);
    assert_eq!(trace.marks(), ["ready"]);
    Ok(())
}
