//! Resources that `kubectl patch --subresource resize` changes while a pod with hooks lives.

use podhook_integration::kubernetes::Namespace;
use podhook_integration::kubernetes::suite::{Test, on_every_side};
use podhook_integration::trace::Trace;
use podhook_integration::{Outcome, kubernetes_tests};
use serde_json::{Value, json};

use crate::steps::{
    Error, MAIN, both_hooks, ended_by_deletion, held, id, left, left_times, one, place, polite,
    restarts, status, trace, with,
};

pub fn tests() -> Vec<Test> {
    on_every_side(kubernetes_tests![resize:
        a_running_container_keeps_its_hooks,
        one_during_post_start_is_done_after_it,
        one_that_restarts_the_container_runs_its_hooks,
    ])
}

/// A processor is shared by all tests that run: what is asked for is next to nothing.
fn resources(cpu: &str, memory: &str) -> Value {
    json!({
        "limits": {"cpu": cpu, "memory": memory},
        "requests": {"cpu": "10m", "memory": "8Mi"},
    })
}

/// The spec of a polite container with half a processor and 48 MiB.
fn small(trace: &Trace, more: Value) -> Value {
    let mut spec = one(trace, &polite());
    spec["containers"][0]["resources"] = resources("500m", "48Mi");
    spec["containers"][0] = with(spec["containers"][0].take(), more);
    spec
}

/// Asks for 0.8 processors and 72 MiB.
fn enlarge(kube: &Namespace<'_>) -> Result<(), Error> {
    let resources = resources("800m", "72Mi");
    let patch = json!({"spec": {"containers": [{"name": MAIN, "resources": resources}]}});
    let patch = patch.to_string();
    kube.ok(&[
        "patch",
        "pod",
        "web",
        "--subresource=resize",
        "--patch",
        &patch,
    ])?;
    Ok(())
}

/// Waits until the pod says that it has them, and looks whether its container's cgroup does.
fn is_large(kube: &Namespace<'_>) -> Result<Value, Error> {
    let pod = kube.wait("web", "larger", |pod| {
        let limits = &status(pod, MAIN)["resources"]["limits"];
        limits["cpu"] == "800m" && limits["memory"] == "72Mi"
    })?;
    // Of cgroup v1 or v2.
    let script = "cd /sys/fs/cgroup; cat cpu.max cpu/cpu.cfs_quota_us memory.max memory/memory.limit_in_bytes 2>/dev/null; true";
    let limits = kube.ok(&["exec", "web", "--", "sh", "-c", script])?;
    let words: Vec<_> = limits.split_whitespace().collect();
    assert_eq!(words.first(), Some(&"80000"), "{limits}");
    assert_eq!(words.last(), Some(&&*(72 << 20).to_string()), "{limits}");
    Ok(pod)
}

fn a_running_container_keeps_its_hooks(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let spec = small(&trace, json!({}));
    kube.pod("web", &[(MAIN, &both_hooks())], spec)?;
    let before = kube.ready("web")?;
    left(&trace, "ready")?;
    enlarge(kube)?;
    let after = is_large(kube)?;
    assert_eq!((id(&after), restarts(&after)), (id(&before), 0));
    ended_by_deletion(kube, &trace)
}

/// Nobody waits for ever: neither the hook for the new size nor the size for a container that is not running yet.
fn one_during_post_start_is_done_after_it(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"postStart": held(&trace, "hook")?});
    kube.pod("web", &[(MAIN, &hooks)], small(&trace, json!({})))?;
    left(&trace, "hook-begin")?;
    enlarge(kube)?;
    trace.release("hook")?;
    kube.ready("web")?;
    let pod = is_large(kube)?;
    assert_eq!(restarts(&pod), 0, "{pod}");
    assert_eq!(trace.count("hook-begin"), 1);
    kube.ok(&["delete", "pod", "web"])?;
    left(&trace, "got-TERM")
}

fn one_that_restarts_the_container_runs_its_hooks(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let spec = small(&trace, json!({"resizePolicy": policy}));
    kube.pod("web", &[(MAIN, &both_hooks())], spec)?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    enlarge(kube)?;
    left_times(&trace, "ready", 2)?;
    left_times(&trace, "post", 2)?;
    kube.ready("web")?;
    let pod = is_large(kube)?;
    assert_eq!(restarts(&pod), 1, "{pod}");
    assert_eq!(trace.marks()[2..4], ["pre", "got-TERM"]);
    assert!(place(&trace, "pre") < place(&trace, "got-TERM"));
    Ok(())
}
