//! Where a lifecycle comes from, and which source wins, field by field.

use std::fs;

use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, ShimKind, tests};
use serde_json::json;

use crate::recorded::{self, Recorded};
use crate::script::{marks, polite, server, words};

pub fn tests() -> Vec<Test> {
    tests![sources:
        the_nodes_lifecycle_holds_for_every_container,
        an_annotation_replaces_the_nodes_field_and_no_other,
        the_containers_annotation_wins_over_the_pods_field_by_field,
        the_pods_annotation_is_for_the_container_of_that_name,
        a_sandbox_has_no_lifecycle,
        the_kubelets_own_pre_stop_is_ignored,
    ]
}

fn the_nodes_lifecycle_holds_for_every_container(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let config = trace.dir().join("config.toml");
    fs::write(
        &config,
        r#"
grace_period = 20
stop_signals = ["SIGUSR2"]
[lifecycle]
stopSignal = "SIGUSR1"
[lifecycle.preStop.exec]
command = ["sh", "-c", "echo node >> /trace/log"]
"#,
    )?;
    let container = node
        .container("node")
        .flag(["--mount", &trace.mount()])
        .flag(["--runtime-config-path", &config.to_string_lossy()])
        .start(&words(&server(
            &["USR1", "USR2", "TERM"],
            &["USR1", "USR2", "TERM"],
        )))?;
    trace.wait("ready")?;
    container.kill("SIGUSR2")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    assert_eq!(trace.marks(), ["ready", "node", "got-USR1"]);
    assert_eq!(
        container
            .recorded()?
            .number("/termination/gracePeriodSeconds"),
        Some(20)
    );
    Ok(())
}

fn an_annotation_replaces_the_nodes_field_and_no_other(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let config = trace.dir().join("config.toml");
    fs::write(
        &config,
        r#"
[lifecycle]
terminationGracePeriodSeconds = 21
[lifecycle.postStart]
onFailure = "Ignore"
exec.command = ["sh", "-c", "echo node-post >> /trace/log"]
[lifecycle.preStop.exec]
command = ["sh", "-c", "echo node-pre >> /trace/log"]
"#,
    )?;
    let container = node
        .container("both")
        .flag(["--mount", &trace.mount()])
        .flag(["--runtime-config-path", &config.to_string_lossy()])
        .lifecycle(&json!({"preStop": marks("own-pre")}).to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    container.kill("SIGTERM")?;
    assert_eq!(container.wait_exit(SOON)?, 7);
    let mut marks = trace.marks();
    // The first two come in any order.
    marks[..2].sort();
    assert_eq!(marks, ["node-post", "ready", "own-pre", "got-TERM"]);
    assert_eq!(
        container
            .recorded()?
            .number("/termination/gracePeriodSeconds"),
        Some(21)
    );
    Ok(())
}

fn the_containers_annotation_wins_over_the_pods_field_by_field(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let of_pod = json!({
        "postStart": marks("pod-post"),
        "preStop": marks("pod-pre"),
        "terminationGracePeriodSeconds": 21,
    });
    let own = json!({"preStop": marks("own-pre"), "stopSignal": "SIGUSR1"});
    let pod = node
        .pod("both")
        .lifecycle("main", &of_pod.to_string())
        .run()?;
    let container = pod
        .container("main")
        .annotation("podhook.dev/lifecycle", &own.to_string())
        .annotation("io.kubernetes.pod.terminationGracePeriod", "22")
        .host_path(trace.dir(), "/trace")
        .command(&words(&server(&["TERM", "USR1"], &[])))
        .start()?;
    trace.wait("ready")?;
    let ctr = node.containerd().ctr_in("k8s.io");
    ctr.run(&["task", "kill", "-s", "SIGTERM", container.id()])?;
    trace.wait("got-USR1")?;
    let mut marks = trace.marks();
    marks[..2].sort();
    assert_eq!(marks, ["pod-post", "ready", "own-pre", "got-USR1"]);
    assert_eq!(
        container
            .recorded()?
            .number("/termination/gracePeriodSeconds"),
        Some(21)
    );
    container.stop(0)?;
    Ok(())
}

fn the_pods_annotation_is_for_the_container_of_that_name(node: &Node) -> Outcome {
    let lifecycle = |seconds: u32| json!({"terminationGracePeriodSeconds": seconds}).to_string();
    let pod = node
        .pod("names")
        .lifecycle("one", &lifecycle(11))
        .lifecycle("two", &lifecycle(12))
        .run()?;
    for (name, expected) in [("one", Some(11)), ("two", Some(12)), ("three", None)] {
        let container = pod.container(name).command(&["sleep", "600"]).start()?;
        assert_eq!(
            recorded::path(&container.bundle()).exists(),
            expected.is_some(),
            "{name}"
        );
        let Some(seconds) = expected else {
            continue;
        };
        let ctr = node.containerd().ctr_in("k8s.io");
        ctr.run(&["task", "kill", "-s", "SIGTERM", container.id()])?;
        let record = container.recorded()?;
        assert_eq!(
            record.number("/termination/gracePeriodSeconds"),
            Some(seconds)
        );
        assert_eq!(record.text("/pod/container"), name);
    }
    Ok(())
}

fn a_sandbox_has_no_lifecycle(node: &Node) -> Outcome {
    // An annotation of the pod reaches the sandbox and every container; a wrong one would fail either.
    let lifecycle = json!({"postStart": {"sleep": {"seconds": 1}}}).to_string();
    let pod = node
        .pod("sandbox")
        .annotation("podhook.dev/lifecycle", &lifecycle)
        .run()?;
    let mut bundle = node.containerd().bundle("k8s.io", pod.id());
    if node.shim() == ShimKind::Pauseless {
        bundle = node.containerd().sandbox_bundle("k8s.io", pod.id());
    }
    let config = fs::read_to_string(bundle.join("config.json"))?;
    assert!(config.contains("podhook.dev/lifecycle"), "{config}");
    assert!(!recorded::path(&bundle).exists());
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    assert_eq!(container.recorded()?.result("postStart"), "Succeeded");

    let pod = node
        .pod("wrong")
        .annotation("podhook.dev/lifecycle", "{")
        .run()?;
    let container = pod.container("main").command(&["sleep", "600"]).create()?;
    let error = container.start().err().ok_or("it started")?;
    assert!(error.message().contains("is not valid JSON"), "{error}");
    Ok(())
}

fn the_kubelets_own_pre_stop_is_ignored(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let pod = node.pod("kubelet").run()?;
    let container = pod
        .container("main")
        .annotation(
            "io.kubernetes.container.preStopHandler",
            &marks("hook").to_string(),
        )
        .host_path(trace.dir(), "/trace")
        .command(&words(&polite()))
        .start()?;
    trace.wait("ready")?;
    assert!(!recorded::path(&container.bundle()).exists());
    container.stop(20)?;
    assert_eq!(container.status()?.exit_code, 7);
    assert_eq!(trace.marks(), ["ready", "got-TERM"]);
    Ok(())
}
