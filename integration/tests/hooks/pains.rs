//! What Kubernetes users have asked for in issues of kubernetes/kubernetes (`k/k`) and containerd, and a
//! runtime can give: hooks that hang, fail silently, or need what the image does not have.

use std::time::{Duration, Instant};
use std::{fs, thread};

use podhook_integration::cri::v1;
use podhook_integration::handler::has_handler;
use podhook_integration::podhook::Podhook;
use podhook_integration::suite::{Test, each_once};
use podhook_integration::trace::{Trace, mark};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Image, Node, Outcome, tests};
use serde_json::json;

use crate::network::{Network, response};
use crate::recorded::Recorded;
use crate::script::{
    anywhere, exec, held, own_sleep, polite, processes, start_until_deadline, wait_processes, with,
    words,
};
use crate::web::get;

pub fn tests() -> Vec<Test> {
    each_once(tests![pains:
        a_failed_hook_says_why_in_the_pods_status,
        a_failed_pre_stop_is_not_lost_in_silence,
        a_hook_has_a_timeout,
        a_hung_post_start_does_not_block_deletion,
        a_hung_post_start_ends_with_the_start_requests_deadline_and_the_pod_can_go,
        a_hung_post_start_does_not_hold_up_the_pods_other_containers,
        children_of_a_timed_out_hook_are_killed,
        a_background_child_that_holds_the_output_hangs_no_hook,
        twenty_megabytes_of_output_fail_no_hook,
        an_error_status_fails_an_http_hook,
        an_http_hook_works_in_a_pod_with_host_network,
        an_image_without_sleep_and_shell_can_sleep,
    ])
}

/// k/k#119541, k/k#130438, k/k#25766: events say `PostStartHook failed` and nothing else.
fn a_failed_hook_says_why_in_the_pods_status(node: &Node) -> Outcome {
    let hook = exec("echo migrating; echo table is locked >&2; exit 3");
    let lifecycle = json!({"postStart": hook, "terminationGracePeriodSeconds": 1});
    let pod = node
        .pod("why")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod.container("main").command(&["sleep", "600"]).create()?;
    let watch = container.watch_record();
    let error = container.start().err().ok_or("it started")?;
    let said = "FailedPostStartHook: exec [\"sh\" \"-c\" \"echo migrating; echo table is locked >&2; exit 3\"]: \
                exited with status 3: migrating\ntable is locked";
    assert!(error.message().contains(said), "{error}");
    // What `kubectl describe pod` shows.
    let status = container.status()?;
    assert_eq!(status.reason, "StartError");
    assert!(status.message.contains(said), "{status:?}");
    let hook = watch.latest().hooks.into_iter().next().unwrap_or_default();
    assert_eq!(
        (hook.result(), hook.exit_code, hook.output.as_deref()),
        (
            Some("Failed"),
            Some(3),
            Some("migrating\ntable is locked\n")
        )
    );
    Ok(())
}

/// k/k#31902, k/k#130438: of a preStop that fails or overruns there is an event without a reason, or nothing.
fn a_failed_pre_stop_is_not_lost_in_silence(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": exec("echo cannot flush; exit 4")});
    let pod = node
        .pod("silence")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .start()?;
    trace.wait("ready")?;
    let watch = container.watch_record();
    container.stop(30)?;
    let hook = watch.latest().hooks.into_iter().next().unwrap_or_default();
    assert_eq!(
        (
            hook.result(),
            hook.message.as_deref(),
            hook.output.as_deref()
        ),
        (
            Some("Failed"),
            Some("exited with status 4"),
            Some("cannot flush\n")
        )
    );
    // The node's log keeps it when the pod is gone.
    let log = node.containerd().log();
    let kept = log.lines().any(|line| {
        line.contains(container.id())
            && line.contains("hook=preStop")
            && line.contains("result=Failed")
            && line.contains("exited with status 4")
    });
    assert!(kept);
    Ok(())
}

/// k/k#68013, k/k#99761, k/k#128250, kubernetes/enhancements#4929.
fn a_hook_has_a_timeout(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let hook = with(
        exec(&format!("{}; exec sleep 600", mark("hook"))),
        json!({"timeoutSeconds": 1}),
    );
    let lifecycle = json!({"postStart": hook, "preStop": hook});
    let pod = node
        .pod("timeout")
        .lifecycle("starts", &lifecycle.to_string())
        .lifecycle("stops", &json!({"preStop": hook}).to_string())
        .run()?;
    let starts = pod
        .container("starts")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .create()?;
    let error = starts.start().err().ok_or("it started")?;
    let said = "timed out after 1s (timeoutSeconds)";
    assert!(error.message().contains(said), "{error}");
    assert_eq!(starts.state()?, "CONTAINER_EXITED");
    let stops = pod
        .container("stops")
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .start()?;
    wait::until_true("ready", SOON, || trace.count("ready") == 2)?;
    let watch = stops.watch_record();
    stops.stop(600)?;
    assert_eq!(stops.status()?.exit_code, 7);
    let hook = watch.latest().hooks.into_iter().next().unwrap_or_default();
    assert_eq!(
        (hook.result(), hook.message.as_deref()),
        (Some("TimedOut"), Some(said))
    );
    Ok(())
}

/// k/k#116032, with `podhook` in the place of the kubelet.
fn a_hung_post_start_does_not_block_deletion(node: &Node) -> Outcome {
    let namespace = format!("hung-{}-{}", node.shim(), node.containerd().version());
    let namespace = namespace.replace('.', "-");
    let hook = own_sleep();
    let manifest = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: hung, namespace: {namespace}}}, spec: {{\
         runtimeClassName: {}, containers: [{{name: main, image: busybox, command: [sleep, '600'], \
         lifecycle: {{postStart: {{exec: {{command: ['sh', '-c', 'exec {hook}']}}}}}}}}]}}}}",
        node.shim()
    );
    node.containerd().import("k8s.io", Image::Busybox)?;
    let podhook = Podhook::new(node.containerd());
    podhook.run_with_input(&["apply", "--wait=false", "-f", "-"], &manifest)?;
    let get = ["-n", &namespace, "get", "pod", "hung", "-o", "json"];
    wait::until_true("the hook to run", SOON, || anywhere(&hook) == 1)?;
    assert!(podhook.run(&get)?.contains("hung"));
    let begun = Instant::now();
    podhook.run(&[
        "-n",
        &namespace,
        "delete",
        "pod",
        "hung",
        "--grace-period",
        "5",
    ])?;
    // The hook would have run for ten minutes, or for the node's 110 seconds.
    assert!(
        begun.elapsed() < Duration::from_secs(90),
        "{:?}",
        begun.elapsed()
    );
    assert_ne!(podhook.try_run(&get)?.status, 0);
    wait::until_true("the hook's end", SOON, || anywhere(&hook) == 0)?;
    Ok(())
}

/// k/k#116032, k/k#30042, with the kubelet's calls: it waits for the answer of StartContainer.
fn a_hung_post_start_ends_with_the_start_requests_deadline_and_the_pod_can_go(
    node: &Node,
) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"postStart": held(&trace, "hook")?});
    let pod = node
        .pod("deadline")
        .lifecycle("main", &lifecycle.to_string())
        .run()?;
    let (container, error) = start_until_deadline(&pod, &trace)?;
    let text = error.message();
    let said = text.contains("timed out after ") && text.contains("deadline");
    assert!(said, "{text}");
    assert!(trace.has("hook-begin") && !trace.has("hook-end"));
    pod.remove()?;
    assert!(container.status().is_err());
    Ok(())
}

/// k/k#37805, k/k#81450.
fn a_hung_post_start_does_not_hold_up_the_pods_other_containers(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node
        .pod("others")
        .lifecycle(
            "hung",
            &json!({"postStart": held(&trace, "hung")?}).to_string(),
        )
        .lifecycle(
            "next",
            &json!({"postStart": exec("true"), "preStop": exec("true")}).to_string(),
        )
        .run()?;
    let hung = pod
        .container("hung")
        .host_path(trace.dir(), "/trace")
        .command(&["sleep", "600"])
        .create()?;
    thread::scope(|scope| -> Outcome {
        let starting = scope.spawn(|| hung.start());
        let meanwhile = || -> Outcome {
            trace.wait("hung-begin")?;
            let next = pod.container("next").command(&["sleep", "600"]).start()?;
            assert_eq!(next.state()?, "CONTAINER_RUNNING");
            assert_eq!(next.exec(&["echo", "ready"])?, "ready\n");
            next.stop(2)?;
            assert_eq!(next.state()?, "CONTAINER_EXITED");
            assert_eq!(hung.state()?, "CONTAINER_CREATED");
            Ok(())
        };
        let meanwhile = meanwhile();
        trace.release("hung")?;
        starting.join().map_err(|_| "start panicked")??;
        meanwhile
    })
}

/// containerd#4594, k/k#110070, k/k#124226: an exec that times out leaves its children.
fn children_of_a_timed_out_hook_are_killed(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let tree = format!(
        "sleep 5001 & (setsid sleep 5002 &); sh -c '{}; sleep 5003; :' & wait",
        mark("grown")
    );
    let hook = with(
        exec(&tree),
        json!({"timeoutSeconds": 10, "onFailure": "Ignore"}),
    );
    let pod = node
        .pod("children")
        .lifecycle("main", &json!({"postStart": hook}).to_string())
        .run()?;
    let container = pod
        .container("main")
        .host_path(trace.dir(), "/trace")
        .command(&["sleep", "600"])
        .start()?;
    assert!(trace.has("grown"));
    let record = container.wait_hook("postStart")?;
    assert_eq!(record.result("postStart"), "TimedOut");
    Ok(wait::until_true("the end of all of it", SOON, || {
        processes(node, container.id()) == ["sleep 600"]
    })?)
}

/// ExecSync waits for every process that holds the output, by default for ever (`drain_exec_sync_io_timeout`).
fn a_background_child_that_holds_the_output_hangs_no_hook(node: &Node) -> Outcome {
    let hook = exec("sleep 5011 & echo started");
    let pod = node
        .pod("background")
        .lifecycle("main", &json!({"postStart": hook}).to_string())
        .run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let run = container.recorded()?.hook("postStart")?;
    assert_eq!(
        (run.text("/result"), run.text("/output")),
        ("Succeeded", "started\n")
    );
    // It is the container's process now.
    wait_processes(node, container.id(), &["sleep 5011"])
}

/// The kubelet takes no answer of more than 16 MiB: such a hook fails with ResourceExhausted.
fn twenty_megabytes_of_output_fail_no_hook(node: &Node) -> Outcome {
    let hook = exec("yes verbose | head -c 20000000; echo; echo the end");
    let pod = node
        .pod("verbose")
        .lifecycle("main", &json!({"postStart": hook}).to_string())
        .run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let run = container.recorded()?.hook("postStart")?;
    assert_eq!(run.text("/result"), "Succeeded");
    let output = run.text("/output");
    assert!(
        output.len() <= 4096 && output.ends_with("\nthe end\n"),
        "{}",
        output.len()
    );
    Ok(())
}

/// k/k#56963.
fn an_error_status_fails_an_http_hook(node: &Node) -> Outcome {
    let pod = node.pod("error-status").run()?;
    let network = Network::of_pod(&pod)?;
    let server = network.respond("0.0.0.0", |_| response("500 x", "", "warming up"))?;
    let lifecycle =
        json!({"postStart": get("/warm", server.port), "terminationGracePeriodSeconds": 1});
    let container = pod
        .container("main")
        .annotation("podhook.dev/lifecycle", &lifecycle.to_string())
        .command(&["sleep", "600"])
        .create()?;
    let error = container.start().err().ok_or("it started")?;
    let said = format!(
        "FailedPostStartHook: httpGet HTTP :{0}/warm: GET http://{1}:{0}/warm: HTTP status 500 Internal Server \
         Error: warming up",
        server.port,
        pod.ip()?
    );
    assert!(error.message().contains(&said), "{error}\n{said}");
    assert_eq!(container.status()?.reason, "StartError");
    Ok(())
}

/// k/k#134285: `failed to find networking container`.
fn an_http_hook_works_in_a_pod_with_host_network(node: &Node) -> Outcome {
    let server = Network::of_node()?.respond("127.0.0.1", |_| response("200 OK", "", "drained"))?;
    let trace = Trace::new(node)?;
    let of_node = |options: &mut Option<v1::NamespaceOption>| {
        options.get_or_insert_default().network = v1::NamespaceMode::Node.into();
    };
    let lifecycle = json!({"preStop": get("/drain", server.port)});
    let pod = node
        .pod("host")
        .lifecycle("main", &lifecycle.to_string())
        .config(|config| {
            // CRI refuses a host name of its own there.
            config.hostname = String::new();
            let linux = config.linux.get_or_insert_default();
            of_node(
                &mut linux
                    .security_context
                    .get_or_insert_default()
                    .namespace_options,
            );
        })
        .run()?;
    let container = pod
        .container("main")
        .config(|config| {
            let linux = config.linux.get_or_insert_default();
            of_node(
                &mut linux
                    .security_context
                    .get_or_insert_default()
                    .namespace_options,
            );
        })
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .start()?;
    trace.wait("ready")?;
    let watch = container.watch_record();
    container.stop(30)?;
    let hook = watch.latest().hooks.into_iter().next().unwrap_or_default();
    assert_eq!(
        (hook.result(), hook.http_status),
        (Some("Succeeded"), Some(200))
    );
    assert_eq!(server.requests().len(), 1);
    assert_eq!(container.status()?.exit_code, 7);
    Ok(())
}

/// kubernetes/enhancements#3960: distroless images have no `sleep`.
fn an_image_without_sleep_and_shell_can_sleep(node: &Node) -> Outcome {
    let pod = node.pod("distroless").run()?;
    let stopped = |name: &str, hook: serde_json::Value| -> Result<_, crate::script::Error> {
        let container = pod
            .container(name)
            .image(Image::Pause)
            .annotation(
                "podhook.dev/lifecycle",
                &json!({"preStop": hook}).to_string(),
            )
            .start()?;
        let watch = container.watch_record();
        // Before that the first process of its namespace has no use for SIGTERM.
        let status = format!("/proc/{}/status", container.pid()?);
        wait::until_true("a handler for SIGTERM", SOON, || {
            let status = fs::read_to_string(&status);
            status.is_ok_and(|status| has_handler(&status, "pause", libc::SIGTERM))
        })?;
        container.stop(30)?;
        // It ends by itself on SIGTERM.
        assert_eq!(container.status()?.exit_code, 0);
        Ok(watch.latest().hooks.into_iter().next().unwrap_or_default())
    };
    let sleep = stopped("sleeps", json!({"sleep": {"seconds": 1}}))?;
    assert_eq!(sleep.result(), Some("Succeeded"));
    assert!(sleep.duration_ms >= Some(1000.0), "{sleep:?}");
    let exec = stopped("execs", json!({"exec": {"command": ["sleep", "1"]}}))?;
    assert_eq!(exec.result(), Some("Failed"));
    let message = exec.message.unwrap_or_default();
    assert!(message.contains("executable file not found"), "{message}");
    Ok(())
}
