//! postStart that fails or is aborted: the container never becomes Running.

use std::collections::BTreeSet;
use std::thread;

use podhook_integration::cri::{self, v1};
use podhook_integration::suite::Test;
use podhook_integration::trace::{Trace, mark};
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::Recorded;
use crate::script::{
    after, exec, held, marks, polite, start_until_deadline, together, with, words,
};

pub fn tests() -> Vec<Test> {
    tests![post_start_failure:
        a_failing_hook_ends_the_task_by_the_sequence,
        a_failing_hook_ends_the_cri_container_by_the_sequence,
        the_error_says_what_was_wrong,
        the_error_never_sounds_like_a_missing_entrypoint,
        the_deadline_of_the_start_request_ends_the_hook_in_time,
        the_nodes_timeout_ends_a_hook_without_one,
        a_cri_client_that_gives_up_ends_the_container,
        a_failed_run_rm_leaves_nothing,
        a_stop_signal_aborts_the_hook_and_starts_the_sequence,
        a_hung_hook_does_not_delay_the_end_of_a_failed_one,
        sigkill_ends_hook_and_container_at_once,
    ]
}

/// Fails with status 3 once the server is ready, and what is to run before the end.
fn failing() -> Value {
    let script = format!(
        "{}; {}; echo first; echo last words; exit 3",
        after("ready"),
        mark("hook")
    );
    json!({"postStart": exec(&script), "preStop": marks("stop")})
}

/// What the user has to see of it.
#[track_caller]
fn check_error(text: &str) {
    let handler = r#"FailedPostStartHook: exec ["sh" "-c" "while [ ! -e /trace/ready ]"#;
    assert!(text.contains(handler), "{text}");
    assert!(
        text.contains("]: exited with status 3: first\nlast words"),
        "{text}"
    );
}

fn a_failing_hook_ends_the_task_by_the_sequence(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let (container, output) = node
        .container("failing")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&failing().to_string())
        .try_start(&words(&polite()))?;
    assert_ne!(output.status, 0);
    check_error(&output.stderr);
    assert_eq!(trace.marks(), ["ready", "hook", "stop", "got-TERM"]);
    assert_eq!(container.status()?, "STOPPED");
    assert_eq!(container.wait_exit(SOON)?, 7);
    container.has_events(["create", "exit"]);
    let record = container.wait_end()?;
    assert_eq!(record.phase(), "Stopped");
    let hook = record.hook("postStart")?;
    assert_eq!(
        (hook.text("/result"), hook.number("/exitCode")),
        ("Failed", Some(3))
    );
    assert_eq!(hook.text("/message"), "exited with status 3");
    assert_eq!(hook.text("/output"), "first\nlast words\n");
    assert_eq!(record.result("preStop"), "Succeeded");
    assert_eq!(record.text("/termination/signal"), "SIGTERM");
    assert_eq!(record.number("/termination/exitStatus"), Some(7));
    assert_eq!(container.delete()?, 7);
    Ok(())
}

fn a_failing_hook_ends_the_cri_container_by_the_sequence(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node
        .pod("failing")
        .lifecycle("main", &failing().to_string())
        .run()?;
    let other = pod.container("other").command(&["sleep", "600"]).start()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .create()?;
    let error = container.start().err().ok_or("it started")?;
    check_error(error.message());
    assert_eq!(trace.marks(), ["ready", "hook", "stop", "got-TERM"]);
    let status = container.status()?;
    assert_eq!(status.state().as_str_name(), "CONTAINER_EXITED");
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (128, "StartError")
    );
    check_error(&status.message);
    let exit = node.events().wait(container.id(), "exit", SOON)?;
    assert_eq!(exit.exit_status(), 7);
    node.events().wait(container.id(), "delete", SOON)?;
    container.has_events(["create", "exit", "delete"]);
    assert_eq!(other.state()?, "CONTAINER_RUNNING");
    Ok(())
}

fn the_error_says_what_was_wrong(node: &Node) -> Outcome {
    let program = |path: &str| json!({"exec": {"command": [path, "a b"]}});
    let table = [
        (
            exec("kill -KILL $$"),
            r#"exec ["sh" "-c" "kill -KILL $$"]: killed by SIGKILL"#,
        ),
        (
            exec("exit 255"),
            r#"exec ["sh" "-c" "exit 255"]: exited with status 255"#,
        ),
        (
            program("no-such-program"),
            r#"exec ["no-such-program" "a b"]: exec: "no-such-program": executable file not found in $PATH"#,
        ),
        (
            program("/no/such/program"),
            r#"exec: "/no/such/program": stat /no/such/program: no such file or directory"#,
        ),
        (
            program("/etc/passwd"),
            r#"exec: "/etc/passwd": permission denied"#,
        ),
        (
            with(
                exec("echo so far; exec sleep 600"),
                json!({"timeoutSeconds": 1}),
            ),
            r#"exec ["sh" "-c" "echo so far; exec sleep 600"]: timed out after 1s (timeoutSeconds): so far"#,
        ),
        (
            json!({"sleep": {"seconds": 600}, "timeoutSeconds": 1}),
            "sleep 600s: timed out after 1s (timeoutSeconds)",
        ),
    ];
    together(&table, |(hook, expected)| {
        // The process takes no SIGTERM: as the first one of its namespace it has none by default.
        let lifecycle = json!({"postStart": hook, "terminationGracePeriodSeconds": 1});
        let (container, output) = node
            .container("wrong")
            .lifecycle(&lifecycle.to_string())
            .try_start(&["sleep", "600"])?;
        let text = &output.stderr;
        assert_ne!(output.status, 0);
        assert!(
            text.contains("FailedPostStartHook: ") && text.contains(expected),
            "{expected}: {text}"
        );
        assert_eq!(container.status()?, "STOPPED");
        assert_eq!(container.wait_exit(SOON)?, 137);
        container.has_events(["create", "exit"]);
        Ok(())
    })
}

fn the_error_never_sounds_like_a_missing_entrypoint(node: &Node) -> Outcome {
    // From these words docker concludes exit codes 126 and 127.
    let script = "echo Permission denied; echo no such file or directory; echo executable file not found; exit 3";
    let lifecycle = json!({"postStart": exec(script), "terminationGracePeriodSeconds": 0});
    let (_container, output) = node
        .container("words")
        .lifecycle(&lifecycle.to_string())
        .try_start(&["sleep", "600"])?;
    let text = output.stderr.to_lowercase();
    assert!(text.contains("exited with status 3"), "{text}");
    for words in [
        "permission denied",
        "no such file or directory",
        "executable file not found",
    ] {
        assert!(!text.contains(words), "{text}");
    }
    Ok(())
}

fn the_deadline_of_the_start_request_ends_the_hook_in_time(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?, "preStop": marks("stop")});
    let pod = node
        .pod("deadline")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let (container, error) = start_until_deadline(&pod, &trace)?;
    let text = error.message();
    assert!(
        text.contains("FailedPostStartHook: exec [") && text.contains("timed out after "),
        "{text}"
    );
    assert!(
        text.contains("(2s before the CRI client's deadline: the kubelet's runtimeRequestTimeout)"),
        "{text}"
    );
    let status = container.wait_exit(SOON)?;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (128, "StartError")
    );
    assert!(!trace.has("hook-end"));
    assert_eq!(
        node.events()
            .wait(container.id(), "exit", SOON)?
            .container_id(),
        container.id()
    );
    assert!(!container.events().contains(&"start".to_owned()));
    Ok(())
}

fn the_nodes_timeout_ends_a_hook_without_one(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let config = trace.dir().join("config.toml");
    std::fs::write(&config, "post_start_timeout = 1\n")?;
    let lifecycle =
        json!({"postStart": {"sleep": {"seconds": 600}}, "terminationGracePeriodSeconds": 0});
    let (container, output) = node
        .container("node")
        .flag(["--runtime-config-path", &config.to_string_lossy()])
        .lifecycle(&lifecycle.to_string())
        .try_start(&["sleep", "600"])?;
    let expected = format!(
        "FailedPostStartHook: sleep 600s: timed out after 1s (post_start_timeout of {}: set timeoutSeconds on the hook)",
        config.display()
    );
    assert!(output.stderr.contains(&expected), "{}", output.stderr);
    assert_eq!(container.recorded()?.result("postStart"), "TimedOut");
    Ok(())
}

fn a_cri_client_that_gives_up_ends_the_container(node: &Node) -> Outcome {
    // containerd then kills the task, as it does when the kubelet has changed its mind.
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?, "preStop": marks("stop")});
    let pod = node
        .pod("cancel")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .create()?;
    let (cancel, cancelled) = tokio::sync::oneshot::channel::<()>();
    let request = v1::StartContainerRequest {
        container_id: container.id().to_owned(),
    };
    let cri = node.containerd().cri()?;
    thread::scope(|scope| -> Outcome {
        let starting = scope.spawn(|| {
            cri.call(
                "StartContainer",
                cri::LIMIT,
                request,
                |mut client, request| async move {
                    tokio::select! {
                        answer = client.start_container(request) => answer,
                        _ = cancelled => Err(tonic::Status::cancelled("given up")),
                    }
                },
            )
        });
        let begun = trace.wait("hook-begin");
        let _ = cancel.send(());
        let answer = starting.join().map_err(|_| "start panicked")?;
        begun?;
        assert!(answer.is_err(), "{answer:?}");
        Ok(())
    })?;
    let status = container.wait_exit(SOON)?;
    assert_eq!(
        (status.exit_code, status.reason.as_str()),
        (128, "StartError")
    );
    let exit = node.events().wait(container.id(), "exit", SOON)?;
    assert_eq!(exit.exit_status(), 137);
    assert!(!trace.has("hook-end") && !trace.has("stop"));
    Ok(())
}

fn a_failed_run_rm_leaves_nothing(node: &Node) -> Outcome {
    let lifecycle =
        json!({"postStart": exec("echo no luck; exit 3"), "terminationGracePeriodSeconds": 1});
    let builder = node.container("rm").lifecycle(&lifecycle.to_string());
    let key = (node.ctr().namespace().to_owned(), builder.id().to_owned());
    let output = builder.run_rm(&["sleep", "600"])?;
    assert_ne!(output.status, 0);
    let message = r#"FailedPostStartHook: exec ["sh" "-c" "echo no luck; exit 3"]: exited with status 3: no luck"#;
    assert!(output.stderr.contains(message), "{}", output.stderr);
    node.events().wait(&key.1, "delete", SOON)?;
    assert_eq!(node.events().topics(&key.1), ["create", "exit", "delete"]);
    node.containerd().expect_gone(&BTreeSet::from([key]))?;
    Ok(())
}

fn a_stop_signal_aborts_the_hook_and_starts_the_sequence(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?, "preStop": marks("stop")});
    let (container, starting) = node
        .container("aborted")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_behind(&words(&polite()))?;
    trace.wait("ready")?;
    trace.wait("hook-begin")?;
    container.kill("SIGTERM")?;
    let output = starting.join().map_err(|_| "ctr panicked")??;
    assert_ne!(output.status, 0);
    assert!(
        output.stderr.contains("FailedPostStartHook: exec [")
            && output.stderr.contains("]: aborted by SIGTERM"),
        "{}",
        output.stderr
    );
    assert_eq!(container.wait_exit(SOON)?, 7);
    assert!(!trace.has("hook-end"));
    // ready and hook-begin come in any order.
    assert_eq!(trace.marks()[2..], ["stop", "got-TERM"]);
    container.has_events(["create", "exit"]);
    let record = container.wait_end()?;
    assert_eq!(record.result("postStart"), "Aborted");
    assert_eq!(
        record.hook("postStart")?.text("/message"),
        "aborted by SIGTERM"
    );
    assert_eq!(record.result("preStop"), "Succeeded");
    Ok(())
}

fn a_hung_hook_does_not_delay_the_end_of_a_failed_one(node: &Node) -> Outcome {
    // preStop hangs too: it is cut, the process gets its signal, ignores it, and is killed in time.
    let lifecycle = json!({
        "postStart": exec("exit 1"),
        "preStop": exec("exec sleep 600"),
        "terminationGracePeriodSeconds": 3,
    });
    let pod = node
        .pod("hung")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod.container("main").command(&["sleep", "600"]).create()?;
    let error = container.start().err().ok_or("it started")?;
    assert!(error.message().contains("exited with status 1"), "{error}");
    let exit = node.events().wait(container.id(), "exit", SOON)?;
    assert_eq!(exit.exit_status(), 137);
    Ok(())
}

fn sigkill_ends_hook_and_container_at_once(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?, "preStop": marks("stop")});
    let (container, starting) = node
        .container("killed")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start_behind(&words(&polite()))?;
    trace.wait("hook-begin")?;
    container.kill("SIGKILL")?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    // As for any process that does not live long: Start succeeds.
    starting.join().map_err(|_| "ctr panicked")??.success()?;
    container.has_events(["create", "start", "exit"]);
    assert!(!trace.has("stop") && !trace.has("hook-end"));
    let record = container.wait_hook("postStart")?;
    assert_eq!(record.result("postStart"), "Aborted");
    assert!(record.runs("preStop").is_empty());
    Ok(())
}
