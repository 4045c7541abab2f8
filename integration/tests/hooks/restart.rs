//! containerd killed and started again in the middle of a hook: the hook runs on, once, and what
//! containerd says afterwards is true.

use std::thread;

use podhook_integration::suite::{Test, own_containerd};
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::Recorded;
use crate::script::{Error, exec, held, marks, polite, words};

pub fn tests() -> Vec<Test> {
    own_containerd(tests![restart:
        a_post_start_goes_on_over_a_restart,
        a_post_start_that_ends_while_containerd_is_away_makes_the_task_running,
        a_post_start_that_fails_while_containerd_is_away_ends_the_container,
        a_cri_container_is_running_when_its_hook_has_succeeded_meanwhile,
        a_cri_container_whose_hook_still_runs_is_created_again,
        a_pre_stop_goes_on_over_a_restart,
        a_pre_stop_and_the_end_while_containerd_is_away_are_not_lost,
        a_cri_containers_pre_stop_goes_on_over_a_restart,
        a_grace_period_that_ends_while_containerd_is_away_is_kept,
    ])
}

/// How often a topic came for a container.
fn count(node: &Node, id: &str, topic: &str) -> usize {
    let topics = node.events().topics(id);
    topics.iter().filter(|found| *found == topic).count()
}

/// A container in the middle of its postStart, whose ctr is lost by then.
fn a_post_start_goes_on_over_a_restart(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let (container, starting) = node
        .container("post")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_behind(&words(&polite()))?;
    trace.wait("ready")?;
    trace.wait("hook-begin")?;
    let before = container.task()?.ok_or("no task")?;
    node.containerd().kill9()?;
    // Its client is gone with it, whatever it says.
    let _ = starting.join();
    node.containerd().up()?;
    let after = container.task()?.ok_or("no task")?;
    assert_eq!((after.status.as_str(), after.pid), ("CREATED", before.pid));
    assert_eq!(trace.marks().len(), 2, "{:?}", trace.marks());
    trace.release("hook")?;
    node.events().wait(container.id(), "start", SOON)?;
    assert_eq!(container.status()?, "RUNNING");
    assert_eq!(container.recorded()?.result("postStart"), "Succeeded");
    assert_eq!(container.exec(&["true"])?.status, 0);
    container.kill("SIGTERM")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    assert_eq!(
        (
            count(node, container.id(), "start"),
            trace.count("hook-begin")
        ),
        (1, 1)
    );
    assert_eq!(container.delete()?, 7);
    Ok(())
}

fn a_post_start_that_ends_while_containerd_is_away_makes_the_task_running(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let (container, starting) = node
        .container("away")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_behind(&words(&polite()))?;
    trace.wait("ready")?;
    trace.wait("hook-begin")?;
    node.containerd().kill9()?;
    let _ = starting.join();
    trace.release("hook")?;
    container.wait_record("Running", SOON, |record| record.phase() == "Running")?;
    node.containerd().up()?;
    assert_eq!(container.status()?, "RUNNING");
    container.kill("SIGTERM")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    assert_eq!(trace.count("hook-begin"), 1);
    assert!(count(node, container.id(), "start") <= 1);
    assert_eq!(container.delete()?, 7);
    Ok(())
}

fn a_post_start_that_fails_while_containerd_is_away_ends_the_container(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let hook = exec(&format!("{}; exit 3", trace.hold("hook")?));
    let lifecycle = json!({"postStart": hook, "preStop": marks("stop")});
    let (container, starting) = node
        .container("fails")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_behind(&words(&polite()))?;
    trace.wait("ready")?;
    trace.wait("hook-begin")?;
    node.containerd().kill9()?;
    let _ = starting.join();
    trace.release("hook")?;
    trace.wait("got-TERM")?;
    container.wait_record("Stopped", SOON, |record| record.phase() == "Stopped")?;
    node.containerd().up()?;
    assert_eq!(container.status()?, "STOPPED");
    assert!(trace.has("stop"));
    assert_eq!(count(node, container.id(), "start"), 0);
    assert_eq!(container.delete()?, 7);
    Ok(())
}

fn a_cri_container_is_running_when_its_hook_has_succeeded_meanwhile(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let pod = node
        .pod("away")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .create()?;
    in_mid_start(&container, &trace, || {
        node.containerd().kill9().map_err(Into::into)
    })?;
    trace.release("hook")?;
    container.wait_record("Running", SOON, |record| record.phase() == "Running")?;
    node.containerd().up()?;
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    assert_eq!(container.exec(&["echo", "alive"])?, "alive\n");
    container.stop(20)?;
    assert_eq!(container.status()?.exit_code, 7);
    assert_eq!(trace.count("hook-begin"), 1);
    Ok(())
}

/// Starts a container and does something once its hook runs; the start's own answer is lost with containerd.
fn in_mid_start(
    container: &podhook_integration::node::PodContainer<'_>,
    trace: &Trace,
    meanwhile: impl FnOnce() -> Result<(), Error>,
) -> Outcome {
    thread::scope(|scope| {
        let starting = scope.spawn(|| container.start());
        let begun = trace.wait("ready").and_then(|()| trace.wait("hook-begin"));
        let outcome = meanwhile();
        let answer = starting.join().map_err(|_| "start panicked")?;
        begun?;
        outcome?;
        assert!(answer.is_err(), "{answer:?}");
        Ok(())
    })
}

fn a_cri_container_whose_hook_still_runs_is_created_again(node: &Node) -> Outcome {
    // CRI ends a task that it finds Created, hook and all, and the container can be removed or replaced.
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let pod = node
        .pod("created")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .create()?;
    let other = pod.container("other").command(&["sleep", "600"]).start()?;
    in_mid_start(&container, &trace, || {
        node.containerd().crash().map_err(Into::into)
    })?;
    assert_eq!(container.state()?, "CONTAINER_CREATED");
    wait::until_true("the end of the task", SOON, || {
        crate::script::processes(node, container.id()).is_empty()
    })?;
    assert!(!trace.has("hook-end"));
    assert_eq!(other.state()?, "CONTAINER_RUNNING");
    container.remove()?;
    Ok(())
}

/// The lifecycle with a preStop that is held.
fn stopping(trace: &Trace) -> Result<Value, Error> {
    Ok(json!({"preStop": held(trace, "hook")?}))
}

fn a_pre_stop_goes_on_over_a_restart(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let container = node
        .container("pre")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&stopping(&trace)?.to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    trace.wait("hook-begin")?;
    let before = container.task()?;
    node.containerd().crash()?;
    assert_eq!(container.task()?, before);
    container.kill("SIGTERM")?;
    assert_eq!(container.recorded()?.phase(), "PreStop");
    trace.release("hook")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    assert_eq!(
        trace.marks(),
        ["ready", "hook-begin", "hook-end", "got-TERM"]
    );
    assert_eq!(container.delete()?, 7);
    Ok(())
}

fn a_pre_stop_and_the_end_while_containerd_is_away_are_not_lost(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let container = node
        .container("away")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&stopping(&trace)?.to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    trace.wait("hook-begin")?;
    node.containerd().kill9()?;
    trace.release("hook")?;
    trace.wait("got-TERM")?;
    container.wait_record("its exit", SOON, |record| {
        record.number("/termination/exitStatus") == Some(7)
    })?;
    node.containerd().up()?;
    assert_eq!(container.status()?, "STOPPED");
    assert_eq!(
        trace.marks(),
        ["ready", "hook-begin", "hook-end", "got-TERM"]
    );
    assert_eq!(container.delete()?, 7);
    Ok(())
}

fn a_cri_containers_pre_stop_goes_on_over_a_restart(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node
        .pod("pre")
        .lifecycle("main", &stopping(&trace)?.to_string())
        .run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .start()?;
    trace.wait("ready")?;
    thread::scope(|scope| -> Outcome {
        let stopping = scope.spawn(|| container.stop(60));
        let begun = trace.wait("hook-begin");
        let crashed = node.containerd().crash();
        let first = stopping.join().map_err(|_| "stop panicked")?;
        begun?;
        crashed?;
        assert!(first.is_err(), "{first:?}");
        assert_eq!(container.state()?, "CONTAINER_RUNNING");
        // The kubelet stops it again, and CRI sends the signal again.
        let stopping = scope.spawn(|| container.stop(60));
        thread::sleep(std::time::Duration::from_millis(500));
        let released = trace.release("hook");
        let second = stopping.join().map_err(|_| "stop panicked")?;
        released?;
        Ok(second?)
    })?;
    assert_eq!(
        trace.marks(),
        ["ready", "hook-begin", "hook-end", "got-TERM"]
    );
    assert_eq!(container.status()?.exit_code, 7);
    Ok(())
}

fn a_grace_period_that_ends_while_containerd_is_away_is_kept(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?, "terminationGracePeriodSeconds": 12});
    let container = node
        .container("grace")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&crate::script::stubborn()))?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    trace.wait("hook-begin")?;
    node.containerd().kill9()?;
    let record = container.wait_end()?;
    assert_eq!(record.result("preStop"), "TimedOut");
    assert!(
        record
            .between("/termination/requestedAt", "/termination/killedAt")?
            .as_secs()
            >= 12
    );
    node.containerd().up()?;
    assert_eq!(container.status()?, "STOPPED");
    // A process that gets no processor in its last two seconds leaves no mark any more.
    let marks = trace.marks();
    assert_eq!(marks[..2], ["ready", "hook-begin"]);
    assert!(
        marks[2..].iter().all(|mark| mark == "got-TERM"),
        "{marks:?}"
    );
    assert_eq!(container.delete()?, 137);
    Ok(())
}
