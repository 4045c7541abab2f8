//! Pods of other shapes: Jobs, init containers and sidecars, static pods, the node's namespaces, what kills a container.

use std::fs;

use podhook_integration::kubernetes::Namespace;
use podhook_integration::kubernetes::suite::{Test, alone, on_every_side};
use podhook_integration::trace::mark;
use podhook_integration::{Outcome, kubernetes_tests, wait};
use serde_json::{Value, json};

use crate::steps::{
    MAIN, both_hooks, container, exec, hooked, left, left_times, one, place, polite, restarts,
    spec, status, trace, with,
};

pub fn tests() -> Vec<Test> {
    let all = on_every_side(kubernetes_tests![workloads:
        a_pod_in_the_nodes_network_has_its_hooks,
        a_pod_that_sees_the_nodes_processes_has_its_hooks,
        a_pod_whose_containers_share_their_processes_has_its_hooks,
        a_pod_with_a_read_only_root_has_its_hooks,
        a_sidecar_and_its_main_container_have_their_hooks_in_order,
        a_static_pod_has_its_hooks,
        an_oom_kill_is_told_and_runs_no_pre_stop,
        a_killed_shims_container_is_started_again,
    ]);
    let crowd = alone(on_every_side(kubernetes_tests![workloads:
        sixty_pods_at_once_leave_nothing,
    ]));
    let own = kubernetes_tests![workloads:
        a_job_that_ends_during_its_post_start_is_complete,
    ];
    [all, crowd, own].concat()
}

fn a_pod_in_the_nodes_network_has_its_hooks(kube: &Namespace<'_>) -> Outcome {
    field(kube, json!({"hostNetwork": true}))
}

fn a_pod_that_sees_the_nodes_processes_has_its_hooks(kube: &Namespace<'_>) -> Outcome {
    field(kube, json!({"hostPID": true}))
}

fn a_pod_whose_containers_share_their_processes_has_its_hooks(kube: &Namespace<'_>) -> Outcome {
    field(kube, json!({"shareProcessNamespace": true}))
}

fn a_pod_with_a_read_only_root_has_its_hooks(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let mut spec = one(&trace, &polite());
    spec["containers"][0]["securityContext"] = json!({"readOnlyRootFilesystem": true});
    hooked(kube, &trace, spec)
}

fn field(kube: &Namespace<'_>, fields: Value) -> Outcome {
    let trace = trace(kube)?;
    let spec = with(one(&trace, &polite()), fields);
    hooked(kube, &trace, spec)
}

/// The kubelet starts one after the other. It runs all its preStop hooks at once, and sends the sidecar's signal last;
/// podhook's hooks are part of the stop, so the sidecar's comes when its main container has ended.
fn a_sidecar_and_its_main_container_have_their_hooks_in_order(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let server = |name: &str| {
        format!(
            "trap '{}; exit 7' TERM; {}; while :; do sleep 600 & wait $!; done",
            mark(&format!("{name}-TERM")),
            mark(name)
        )
    };
    let hooks = |name: &str| {
        let stop = format!(
            "{}; sleep 1; {}",
            mark(&format!("{name}-pre")),
            mark(&format!("{name}-pre-end"))
        );
        json!({"postStart": exec(&mark(&format!("{name}-post"))), "preStop": exec(&stop)})
    };
    let mut sidecar = container("sidecar", &server("sidecar"));
    sidecar["restartPolicy"] = json!("Always");
    let pod = with(
        spec(&trace, json!([container(MAIN, &server("main"))])),
        json!({"initContainers": [container("init", &mark("init")), sidecar]}),
    );
    kube.pod(
        "web",
        &[(MAIN, &hooks("main")), ("sidecar", &hooks("sidecar"))],
        pod,
    )?;
    kube.ready("web")?;
    left(&trace, "main")?;
    kube.ok(&["delete", "pod", "web"])?;
    let at = |mark: &str| place(&trace, mark).ok_or(format!("no {mark}: {:?}", trace.marks()));
    assert!(at("init")? < at("sidecar")? && at("init")? < at("sidecar-post")?);
    assert!(at("sidecar-post")? < at("main-post")? && at("sidecar-post")? < at("main")?);
    assert!(at("main-pre-end")? < at("main-TERM")? && at("main-TERM")? < at("sidecar-TERM")?);
    assert!(at("sidecar-pre-end")? < at("sidecar-TERM")?);
    if kube.side().is_podhook() {
        assert!(at("main-TERM")? < at("sidecar-pre")?, "{:?}", trace.marks());
    }
    Ok(())
}

fn a_static_pod_has_its_hooks(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let name = format!("static-{}", kube.name());
    let mut pod = kube
        .side()
        .pod(&name, &[(MAIN, &both_hooks())], one(&trace, &polite()));
    pod["metadata"]["namespace"] = json!(kube.name());
    let file = kube.cluster().static_pods().join(format!("{name}.json"));
    fs::write(&file, pod.to_string())?;
    let mirror = format!("{name}-{}", kube.cluster().node());
    let ready = kube.ready(&mirror);
    let hooked = left(&trace, "post");
    // Whatever came of it: the next tests have no use for it.
    fs::remove_file(&file)?;
    ready?;
    hooked?;
    kube.gone(&mirror)?;
    left(&trace, "got-TERM")?;
    assert!(place(&trace, "pre") < place(&trace, "got-TERM"));
    assert!(place(&trace, "pre").is_some(), "{:?}", trace.marks());
    Ok(())
}

fn an_oom_kill_is_told_and_runs_no_pre_stop(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let script = format!(
        "{}; while [ ! -e /trace/go ]; do usleep 50000; done; exec tail /dev/zero",
        mark("ready")
    );
    let mut spec = with(one(&trace, &script), json!({"restartPolicy": "Never"}));
    spec["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi", "cpu": "1"}});
    kube.pod("greedy", &[(MAIN, &both_hooks())], spec)?;
    kube.ready("greedy")?;
    fs::write(trace.dir().join("go"), "")?;
    let pod = kube.wait("greedy", "failed", |pod| pod["status"]["phase"] == "Failed")?;
    let ended = &status(&pod, MAIN)["state"]["terminated"];
    assert_eq!(
        (&ended["reason"], &ended["exitCode"]),
        (&json!("OOMKilled"), &json!(137)),
        "{pod}"
    );
    assert_eq!(place(&trace, "pre"), None);
    Ok(())
}

fn a_killed_shims_container_is_started_again(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    kube.pod("web", &[(MAIN, &both_hooks())], one(&trace, &polite()))?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    let shim = kube.shim_of("web")?.ok_or("no shim")?;
    let containerd = kube.cluster().containerd();
    containerd.kill_shim(&shim, kube.side().shim())?;
    left_times(&trace, "ready", 2)?;
    left_times(&trace, "post", 2)?;
    let pod = kube.wait("web", "running again", |pod| {
        restarts(pod) > 0 && podhook_integration::kubernetes::is_ready(pod)
    })?;
    assert_eq!(place(&trace, "pre"), None, "{pod}");
    kube.ok(&["delete", "pod", "web"])?;
    left(&trace, "got-TERM")
}

const CROWD: usize = 60;

/// Alone: a kubelet takes no more pods than three such crowds. What is left is looked for when the cluster ends, of these pods as of all.
fn sixty_pods_at_once_leave_nothing(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let pods: Vec<_> = (0..CROWD)
        .map(|n| {
            let name = format!("crowd-{n}");
            kube.side()
                .pod(&name, &[(MAIN, &both_hooks())], one(&trace, &polite()))
        })
        .collect();
    kube.apply(&json!({"apiVersion": "v1", "kind": "List", "items": pods}).to_string())?;
    left_times(&trace, "post", CROWD)?;
    kube.ok(&[
        "wait",
        "--for=condition=Ready",
        "pods",
        "--all",
        "--timeout=150s",
    ])?;
    left_times(&trace, "ready", CROWD)?;
    kube.ok(&["delete", "pods", "--all", "--timeout=150s"])?;
    for mark in ["post", "ready", "pre", "got-TERM"] {
        assert_eq!(trace.count(mark), CROWD, "{mark}");
    }
    let list = kube.json(&["get", "pods"])?;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(0));
    Ok(())
}

/// With the kubelet's, exec fails because the container has ended, and so does the hook.
fn a_job_that_ends_during_its_post_start_is_complete(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let hook = exec(&format!("{}; exec sleep 600", mark("hook")));
    let script = format!(
        "while [ ! -e /trace/hook ]; do usleep 50000; done; {}",
        mark("done")
    );
    let pod = kube.side().pod(
        "unused",
        &[(MAIN, &json!({"postStart": hook}))],
        with(one(&trace, &script), json!({"restartPolicy": "Never"})),
    );
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "quick"},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"annotations": pod["metadata"]["annotations"]},
                "spec": pod["spec"],
            },
        },
    });
    kube.apply(&job.to_string())?;
    left(&trace, "done")?;
    wait::until_true(
        "the Job's end",
        podhook_integration::kubernetes::LONG,
        || {
            kube.json(&["get", "job", "quick"])
                .is_ok_and(|job| job["status"]["succeeded"] == 1)
        },
    )?;
    assert_eq!(trace.marks(), ["hook", "done"]);
    Ok(())
}
