//! Statements of docs/evidence/kubernetes.md that no other test is about.

use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::node::{Pod, PodContainer};
use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::Recorded;
use crate::script::{Error, exec, held, marks, polite, sh, words};

pub fn tests() -> Vec<Test> {
    tests![conformance:
        cri_refuses_exec_and_removal_and_stops_nothing_while_post_start_runs,
        the_containers_log_is_written_while_post_start_runs,
        both_streams_are_kept_in_the_order_they_were_written,
        sleep_of_zero_seconds_is_done_at_once,
        a_variable_of_kubernetes_is_not_expanded,
        a_container_that_is_killed_from_outside_runs_no_pre_stop,
        removing_a_running_container_runs_no_pre_stop,
        a_sidecars_pre_stop_waits_for_its_own_stop,
        a_restarted_container_has_its_hooks_again,
    ]
}

fn start<'a>(
    pod: &'a Pod<'_>,
    trace: &Trace,
    name: &str,
    lifecycle: &Value,
) -> Result<PodContainer<'a>, Error> {
    let ready = trace.count("ready");
    let container = pod
        .container(name)
        .annotation("podhook.dev/lifecycle", &lifecycle.to_string())
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .start()?;
    wait::until_true("ready", SOON, || trace.count("ready") > ready)?;
    Ok(container)
}

/// Starts the container, and does something while its postStart, called `hook`, is held.
fn while_starting(
    container: &PodContainer<'_>,
    trace: &Trace,
    meanwhile: impl FnOnce() -> Outcome + Send,
) -> Outcome {
    thread::scope(|scope| {
        let starting = scope.spawn(|| container.start());
        // In a thread too: its panic must not leave the hook held.
        let meanwhile = scope.spawn(|| {
            trace.wait("ready")?;
            trace.wait("hook-begin")?;
            meanwhile()
        });
        let meanwhile = crate::script::joined(meanwhile.join());
        let released = trace.release("hook");
        let started = starting.join().map_err(|_| "start panicked")?;
        meanwhile?;
        released?;
        Ok(started?)
    })
}

fn cri_refuses_exec_and_removal_and_stops_nothing_while_post_start_runs(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?, "preStop": marks("stop")});
    let pod = node
        .pod("created")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .create()?;
    while_starting(&container, &trace, || {
        let error = container.exec(&["true"]).err().ok_or("exec worked")?;
        assert!(error.to_string().contains("CONTAINER_CREATED"), "{error}");
        let error = container.remove().err().ok_or("it was removed")?;
        assert!(error.to_string().contains("starting"), "{error}");
        container.stop(20)?;
        assert_eq!(container.state()?, "CONTAINER_CREATED");
        // Whoever is not bound to CRI reaches the task.
        let ctr = node.containerd().ctr_in("k8s.io");
        let fifos = ctr.fifos().display().to_string();
        let exec = ["task", "exec", "--exec-id", "one", "--fifo-dir", &fifos];
        ctr.run(&[&exec[..], &[container.id(), "true"]].concat())?;
        Ok(())
    })?;
    // The stop had no effect at all.
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    assert!(!trace.has("stop") && !trace.has("got-TERM"));
    Ok(())
}

fn the_containers_log_is_written_while_post_start_runs(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let pod = node
        .pod("log")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let script = format!("echo waiting for the hook; {}", polite()[2]);
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&sh(&script)))
        .create()?;
    while_starting(&container, &trace, || {
        container.wait_log("waiting for the hook", SOON)?;
        assert_eq!(container.state()?, "CONTAINER_CREATED");
        Ok(())
    })
}

fn both_streams_are_kept_in_the_order_they_were_written(node: &Node) -> Outcome {
    let hook = exec("echo one; echo two >&2; echo three; echo four >&2");
    let pod = node
        .pod("streams")
        .lifecycle("main", &json!({"postStart": hook}).to_string())
        .run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let run = container.recorded()?.hook("postStart")?;
    assert_eq!(run.text("/output"), "one\ntwo\nthree\nfour\n");
    Ok(())
}

fn sleep_of_zero_seconds_is_done_at_once(node: &Node) -> Outcome {
    let hook = json!({"sleep": {"seconds": 0}});
    let trace = Trace::new(node)?;
    let pod = node.pod("zero").run()?;
    let lifecycle = json!({"postStart": hook, "preStop": hook});
    let container = start(&pod, &trace, "main", &lifecycle)?;
    let run = container.recorded()?.hook("postStart")?;
    assert_eq!(run.text("/result"), "Succeeded");
    assert!(run.between("/startedAt", "/finishedAt")?.as_secs() < 5);
    let watch = container.watch_record();
    container.stop(60)?;
    let hooks = watch.latest().hooks;
    let results: Vec<_> = hooks.iter().map(|hook| hook.result()).collect();
    assert_eq!(results, [Some("Succeeded"), Some("Succeeded")]);
    assert_eq!(trace.marks(), ["ready", "got-TERM"]);
    Ok(())
}

fn a_variable_of_kubernetes_is_not_expanded(node: &Node) -> Outcome {
    let command = ["echo", "$(COLOUR)", "$COLOUR", "$$(COLOUR)"];
    let lifecycle = json!({"postStart": {"exec": {"command": command}}});
    let pod = node
        .pod("variable")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .env("COLOUR", "green")
        .command(&["sleep", "600"])
        .start()?;
    let run = container.recorded()?.hook("postStart")?;
    assert_eq!(run.text("/output"), "$(COLOUR) $COLOUR $$(COLOUR)\n");
    Ok(())
}

fn a_container_that_is_killed_from_outside_runs_no_pre_stop(node: &Node) -> Outcome {
    // As by the kernel for want of memory.
    let trace = Trace::new(node)?;
    let pod = node.pod("crash").run()?;
    let container = start(&pod, &trace, "main", &json!({"preStop": marks("stop")}))?;
    let tasks = node.containerd().ctr_in("k8s.io").tasks()?;
    let task = tasks.get(container.id()).ok_or("no task")?;
    kill(Pid::from_raw(task.pid), Signal::SIGKILL)?;
    assert_eq!(container.wait_exit(SOON)?.exit_code, 137);
    assert_eq!(trace.marks(), ["ready"]);
    Ok(())
}

fn removing_a_running_container_runs_no_pre_stop(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("removed").run()?;
    let container = start(&pod, &trace, "main", &json!({"preStop": marks("stop")}))?;
    container.remove()?;
    assert_eq!(trace.marks(), ["ready"]);
    let exit = node.events().wait(container.id(), "exit", SOON)?;
    assert_eq!(exit.exit_status(), 137);
    Ok(())
}

fn a_sidecars_pre_stop_waits_for_its_own_stop(node: &Node) -> Outcome {
    // The kubelet stops sidecars after the main containers; its own hooks of both start at once.
    let trace = Trace::new(node)?;
    let pod = node.pod("sidecar").run()?;
    let app = start(&pod, &trace, "app", &json!({"preStop": marks("app-stop")}))?;
    let sidecar = json!({"preStop": marks("sidecar-stop")});
    let sidecar = start(&pod, &trace, "sidecar", &sidecar)?;
    app.stop(60)?;
    assert_eq!(trace.marks()[2..], ["app-stop", "got-TERM"]);
    assert_eq!(sidecar.state()?, "CONTAINER_RUNNING");
    assert_eq!(sidecar.recorded()?.phase(), "Running");
    sidecar.stop(60)?;
    assert_eq!(trace.marks()[4..], ["sidecar-stop", "got-TERM"]);
    Ok(())
}

fn a_restarted_container_has_its_hooks_again(node: &Node) -> Outcome {
    // As after a liveness probe: stop, and the next attempt.
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": marks("start"), "preStop": marks("stop")});
    let pod = node
        .pod("restarted")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    for attempt in 0..2 {
        let container = pod
            .container("main")
            .config(|config| config.metadata.get_or_insert_default().attempt = attempt)
            .host_path(trace.dir(), "/trace")
            .command(&words(&polite()))
            .start()?;
        let number = usize::try_from(attempt)? + 1;
        wait::until_true("ready", SOON, || trace.count("ready") == number)?;
        container.stop(30)?;
        assert_eq!(container.status()?.exit_code, 7);
    }
    for mark in ["start", "ready", "stop", "got-TERM"] {
        assert_eq!(trace.count(mark), 2, "{mark}: {:?}", trace.marks());
    }
    Ok(())
}
