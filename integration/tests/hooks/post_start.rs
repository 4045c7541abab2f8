//! postStart: the container is Created until its hook has succeeded, and everything else goes on.

use std::process::Stdio;
use std::{fs, thread};

use podhook_integration::suite::Test;
use podhook_integration::trace::{Trace, mark};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::json;

use crate::recorded::Recorded;
use crate::script::{Error, exec, held, polite, server, sh, together, with, words};

pub fn tests() -> Vec<Test> {
    tests![post_start:
        the_task_is_created_and_answers_until_the_hook_has_succeeded,
        cri_says_created_and_the_pods_other_containers_go_on,
        tasks_of_one_shim_do_not_wait_for_each_others_hooks,
        a_hook_of_three_seconds_delays_running_by_three_seconds,
        hooks_of_one_pod_run_side_by_side,
        a_client_that_gives_up_cancels_nothing,
        on_failure_ignore_starts_the_container_all_the_same,
        a_job_that_ends_during_its_hook_has_not_failed,
        a_cri_job_that_ends_during_its_hook_has_not_failed,
        a_container_without_post_start_is_running_at_once,
        a_hook_finds_the_containers_own_program,
    ]
}

fn the_task_is_created_and_answers_until_the_hook_has_succeeded(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let (container, starting) = node
        .container("created")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_behind(&words(&server(&["USR1"], &[])))?;
    trace.wait("ready")?;
    trace.wait("hook-begin")?;

    // What is answered is answered while the hook hangs: it ends when it is released.
    let task = container.task()?.ok_or("no task")?;
    assert_eq!(task.status, "CREATED");
    assert!(fs::exists(format!("/proc/{}", task.pid))? && task.pid > 0);
    container.has_events(["create"]);
    let ctr = node.ctr();
    let processes = ctr.run(&["task", "ps", container.id()])?;
    assert!(processes.contains(&task.pid.to_string()), "{processes}");
    let metrics = ctr.run(&["task", "metrics", container.id()])?;
    assert!(metrics.contains("memory"), "{metrics}");
    container.kill("SIGUSR1")?;
    trace.wait("got-USR1")?;
    let exec = container.exec(&["true"])?;
    assert_eq!(exec.status, 0, "{exec:?}");
    let record = container.recorded()?;
    assert_eq!(
        (record.phase(), record.result("postStart")),
        ("PostStart", String::new())
    );
    assert_eq!(container.status()?, "CREATED");
    assert!(!starting.is_finished());
    assert!(!container.events().contains(&"start".to_owned()));

    trace.release("hook")?;
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    assert!(trace.has("hook-end"));
    assert_eq!(container.status()?, "RUNNING");
    let record = container.recorded()?;
    assert_eq!(
        (record.phase(), &*record.result("postStart")),
        ("Running", "Succeeded")
    );
    container.kill("SIGKILL")?;
    container.wait_exit(SOON)?;
    assert_eq!(starts(&container.events()), 1);
    Ok(())
}

fn starts(events: &[String]) -> usize {
    events.iter().filter(|topic| *topic == "start").count()
}

fn cri_says_created_and_the_pods_other_containers_go_on(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let pod = node
        .pod("created")
        .lifecycle("slow", &lifecycle.to_string())
        .run()?;
    let slow = pod
        .container("slow")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .create()?;
    let created = slow.status()?.created_at;
    thread::scope(|scope| -> Outcome {
        let starting = scope.spawn(|| slow.start());
        let meanwhile = || -> Outcome {
            trace.wait("ready")?;
            trace.wait("hook-begin")?;
            let status = slow.status()?;
            assert_eq!(status.state().as_str_name(), "CONTAINER_CREATED");
            assert_eq!(status.started_at, 0);
            let task = node
                .containerd()
                .ctr_in("k8s.io")
                .tasks()?
                .remove(slow.id());
            let task = task.ok_or("no task")?;
            assert_eq!(task.status, "CREATED");
            assert!(fs::exists(format!("/proc/{}", task.pid))?);

            let other = pod.container("other").command(&["sleep", "600"]).start()?;
            assert_eq!(other.state()?, "CONTAINER_RUNNING");
            assert_eq!(other.exec(&["echo", "hello"])?, "hello\n");
            assert!(other.stats()?.memory.is_some());
            other.stop(0)?;
            assert_eq!(other.state()?, "CONTAINER_EXITED");

            assert_eq!(slow.state()?, "CONTAINER_CREATED");
            slow.has_events(["create"]);
            assert!(!starting.is_finished());
            Ok(())
        };
        let meanwhile = meanwhile();
        trace.release("hook")?;
        starting.join().map_err(|_| "start panicked")??;
        meanwhile
    })?;
    let status = slow.status()?;
    assert_eq!(status.state().as_str_name(), "CONTAINER_RUNNING");
    assert!(status.started_at > created, "{status:?}");
    assert_eq!(slow.recorded()?.result("postStart"), "Succeeded");
    slow.stop(20)?;
    assert_eq!(slow.status()?.exit_code, 7);
    assert_eq!(starts(&slow.events()), 1);
    Ok(())
}

fn tasks_of_one_shim_do_not_wait_for_each_others_hooks(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let (slow, starting) = node
        .container("slow")
        .annotation("io.containerd.runc.v2.group", "grouped")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_behind(&words(&polite()))?;
    trace.wait("hook-begin")?;
    let quick = node
        .container("quick")
        .annotation("io.containerd.runc.v2.group", "grouped")
        .start(&["sleep", "600"])?;
    assert_eq!(
        (quick.status()?, slow.status()?),
        ("RUNNING".into(), "CREATED".into())
    );
    assert_eq!(quick.exec(&["true"])?.status, 0);
    quick.kill("SIGKILL")?;
    assert_eq!(quick.wait_exit(SOON)?, 137);
    assert_eq!(quick.delete()?, 137);
    assert_eq!(slow.status()?, "CREATED");
    trace.release("hook")?;
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    assert_eq!(slow.status()?, "RUNNING");
    Ok(())
}

fn a_hook_of_three_seconds_delays_running_by_three_seconds(node: &Node) -> Outcome {
    let lifecycle = json!({"postStart": {"sleep": {"seconds": 3}}}).to_string();
    let container = node
        .container("three")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    let events = node.events();
    let created = events.wait(container.id(), "create", SOON)?.published;
    let started = events.wait(container.id(), "start", SOON)?.published;
    let delay = started.duration_since(created).as_secs_f64();
    assert!(delay >= 3.0, "{delay} s");
    let hook = container.recorded()?.hook("postStart")?;
    assert_eq!(
        (hook.text("/result"), hook.text("/handler")),
        ("Succeeded", "sleep")
    );
    let elapsed = hook.between("/startedAt", "/finishedAt")?.as_secs();
    assert!(elapsed >= 3, "{elapsed} s");

    let pod = node.pod("three").run()?;
    let container = pod
        .container("main")
        .annotation("podhook.dev/lifecycle", &lifecycle)
        .command(&["sleep", "600"])
        .start()?;
    let status = container.status()?;
    let nanoseconds = status.started_at - status.created_at;
    assert!(nanoseconds >= 3_000_000_000, "{status:?}");
    Ok(())
}

fn hooks_of_one_pod_run_side_by_side(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let names = ["one", "two", "three", "four"];
    let mut builder = node.pod("side");
    for name in names {
        let lifecycle = json!({"postStart": held(&trace, name)?});
        builder = builder.lifecycle(name, &lifecycle.to_string());
    }
    let pod = builder.run()?;
    let containers = names
        .iter()
        .map(|name| {
            let container = pod.container(name).host_path(trace.dir(), "/trace");
            container.command(&["sleep", "600"]).create()
        })
        .collect::<Result<Vec<_>, _>>()?;
    thread::scope(|scope| -> Outcome {
        let starts: Vec<_> = containers
            .iter()
            .map(|container| scope.spawn(|| container.start()))
            .collect();
        // Each is in its hook before the first one goes on: none waits for another.
        let begun = names
            .iter()
            .try_for_each(|name| trace.wait(&format!("{name}-begin")));
        let mut ends = names.iter().zip(starts).rev();
        ends.try_for_each(|(name, start)| {
            trace.release(name)?;
            Ok(start.join().map_err(|_| "start panicked")??)
        })
        .and(begun.map_err(Into::into))
    })?;
    for container in &containers {
        assert_eq!(container.state()?, "CONTAINER_RUNNING");
    }
    Ok(())
}

fn a_client_that_gives_up_cancels_nothing(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let (container, mut command) = node
        .container("given-up")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_command(&words(&polite()))?;
    let mut ctr = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let begun = trace.wait("hook-begin");
    ctr.kill()?;
    ctr.wait()?;
    begun?;
    assert_eq!(container.status()?, "CREATED");
    trace.release("hook")?;
    wait::until_true("RUNNING", SOON, || {
        container.status().is_ok_and(|status| status == "RUNNING")
    })?;
    node.events().wait(container.id(), "start", SOON)?;
    container.kill("SIGTERM")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    container.has_events(["create", "start", "exit"]);
    assert_eq!(trace.count("hook-begin"), 1);
    Ok(())
}

fn on_failure_ignore_starts_the_container_all_the_same(node: &Node) -> Outcome {
    let hook = with(exec("echo no luck; exit 3"), json!({"onFailure": "Ignore"}));
    let lifecycle = json!({"postStart": hook}).to_string();
    let container = node
        .container("ignored")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    assert_eq!(container.status()?, "RUNNING");
    container.has_events(["create", "start"]);
    let record = container.recorded()?;
    assert_eq!(record.phase(), "Running");
    let hook = record.hook("postStart")?;
    assert_eq!(
        (hook.text("/result"), hook.number("/exitCode")),
        ("Failed", Some(3))
    );
    assert_eq!(hook.text("/output").trim(), "no luck");

    let pod = node.pod("ignored").lifecycle("main", &lifecycle).run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    assert_eq!(container.state()?, "CONTAINER_RUNNING");
    assert_eq!(container.recorded()?.result("postStart"), "Failed");
    Ok(())
}

/// Ends with that status when it is released.
fn job(trace: &Trace, status: i32) -> Result<[String; 3], Error> {
    Ok(sh(&format!("{}; exit {status}", trace.hold("job")?)))
}

fn a_job_that_ends_during_its_hook_has_not_failed(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?, "preStop": exec(&mark("stop"))});
    let (container, starting) = node
        .container("job")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_behind(&words(&job(&trace, 5)?))?;
    trace.wait("hook-begin")?;
    trace.release("job")?;
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    assert_eq!(container.wait_exit(SOON)?, 5);
    container.has_events(["create", "start", "exit"]);
    assert_eq!(container.status()?, "STOPPED");
    let record = container.wait_hook("postStart")?;
    assert_eq!(
        (record.phase(), &*record.result("postStart")),
        ("Stopped", "Aborted")
    );
    assert!(record.runs("preStop").is_empty());
    assert!(!trace.has("stop") && !trace.has("hook-end"));
    assert_eq!(container.delete()?, 5);
    Ok(())
}

fn a_cri_job_that_ends_during_its_hook_has_not_failed(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let pod = node
        .pod("job")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&job(&trace, 0)?))
        .create()?;
    thread::scope(|scope| -> Outcome {
        let starting = scope.spawn(|| container.start());
        let begun = trace.wait("hook-begin");
        trace.release("job")?;
        starting.join().map_err(|_| "start panicked")??;
        Ok(begun?)
    })?;
    let status = container.wait_exit(SOON)?;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (0, "Completed"),
        "{status:?}"
    );
    assert_eq!(container.events()[..3], ["create", "start", "exit"]);
    Ok(())
}

fn a_container_without_post_start_is_running_at_once(node: &Node) -> Outcome {
    let lifecycle = json!({"preStop": {"sleep": {"seconds": 60}}}).to_string();
    let container = node
        .container("plain")
        .lifecycle(&lifecycle)
        .start(&["sleep", "600"])?;
    assert_eq!(container.status()?, "RUNNING");
    container.has_events(["create", "start"]);
    assert_eq!(container.recorded()?.phase(), "Running");
    Ok(())
}

/// Many at once: on busy processors init takes its time from the OCI runtime's `start` to its program.
fn a_hook_finds_the_containers_own_program(node: &Node) -> Outcome {
    let look =
        "read -r line < /proc/1/cmdline; case $line in sleep*) ;; *) echo $line; exit 1;; esac";
    let lifecycle = json!({"postStart": exec(look)}).to_string();
    for _ in 0..3 {
        together(&[(); 8], |()| {
            let container = node.container("own").lifecycle(&lifecycle);
            container.start(&["sleep", "600"])?;
            Ok(())
        })?;
    }
    Ok(())
}
