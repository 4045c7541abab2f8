//! Probes of a pod with hooks that fail, hang, or have a grace period of their own.

use std::fs;

use podhook_integration::kubernetes::suite::{Test, on_every_side};
use podhook_integration::kubernetes::{Namespace, is_ready};
use podhook_integration::trace::mark;
use podhook_integration::{Outcome, kubernetes_tests};
use serde_json::{Value, json};

use crate::steps::{
    MAIN, both_hooks, ended_by_deletion, exec, left, left_times, one, place, polite, restarts,
    status, stubborn, trace,
};

pub fn tests() -> Vec<Test> {
    on_every_side(kubernetes_tests![probes:
        a_startup_probe_that_fails_ends_the_container_with_its_pre_stop,
        a_readiness_probe_that_fails_runs_no_hook,
        a_readiness_probe_that_hangs_is_over_at_its_timeout,
        a_liveness_probes_own_grace_period_cuts_pre_stop,
    ])
}

/// An exec probe, every second, of which one failure is enough.
fn probe(script: &str) -> Value {
    let mut probe = exec(script);
    probe["periodSeconds"] = json!(1);
    probe["timeoutSeconds"] = json!(60);
    probe["failureThreshold"] = json!(1);
    probe
}

fn a_startup_probe_that_fails_ends_the_container_with_its_pre_stop(
    kube: &Namespace<'_>,
) -> Outcome {
    let trace = trace(kube)?;
    let mut spec = one(&trace, &polite());
    // The second container finds what the first one's preStop has left.
    let script = "while ! test -e /trace/ready; do usleep 50000; done; test -e /trace/pre";
    spec["containers"][0]["startupProbe"] = probe(script);
    kube.pod("web", &[(MAIN, &both_hooks())], spec)?;
    left_times(&trace, "ready", 2)?;
    left_times(&trace, "post", 2)?;
    let pod = kube.ready("web")?;
    assert_eq!(restarts(&pod), 1, "{pod}");
    assert_eq!(status(&pod, MAIN)["lastState"]["terminated"]["exitCode"], 7);
    assert_eq!(trace.marks()[2..4], ["pre", "got-TERM"]);
    kube.wait_event("web", "failed startup probe, will be restarted")?;
    Ok(())
}

fn a_readiness_probe_that_fails_runs_no_hook(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let mut spec = one(&trace, &polite());
    spec["containers"][0]["readinessProbe"] = probe("test ! -e /trace/busy");
    kube.pod("web", &[(MAIN, &both_hooks())], spec)?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    fs::write(trace.dir().join("busy"), "")?;
    let pod = kube.wait("web", "not ready", |pod| !is_ready(pod))?;
    assert!(!status(&pod, MAIN)["state"]["running"].is_null(), "{pod}");
    fs::remove_file(trace.dir().join("busy"))?;
    let pod = kube.ready("web")?;
    assert_eq!(restarts(&pod), 0, "{pod}");
    ended_by_deletion(kube, &trace)
}

fn a_readiness_probe_that_hangs_is_over_at_its_timeout(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let mut spec = one(&trace, &polite());
    // A child of it would hold containerd's answer up for two minutes.
    let mut hanging = probe("test ! -e /trace/hang || exec sleep 600");
    hanging["timeoutSeconds"] = json!(2);
    hanging["failureThreshold"] = json!(3);
    spec["containers"][0]["readinessProbe"] = hanging;
    kube.pod("web", &[(MAIN, &both_hooks())], spec)?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    fs::write(trace.dir().join("hang"), "")?;
    let event = kube.wait_event("web", "Readiness probe failed")?;
    assert!(event.contains("timed out"), "{event}");
    ended_by_deletion(kube, &trace)
}

/// The pod has 30 seconds, which the hook would use.
fn a_liveness_probes_own_grace_period_cuts_pre_stop(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let mut spec = one(&trace, &stubborn());
    let mut liveness = probe("test ! -e /trace/sick");
    liveness["terminationGracePeriodSeconds"] = json!(1);
    spec["containers"][0]["livenessProbe"] = liveness;
    spec["terminationGracePeriodSeconds"] = json!(600);
    let script = format!(
        "{}; rm -f /trace/sick; sleep 600; {}",
        mark("pre"),
        mark("pre-end")
    );
    let hooks = json!({"preStop": exec(&script)});
    kube.pod("web", &[(MAIN, &hooks)], spec)?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    fs::write(trace.dir().join("sick"), "")?;
    let pod = kube.wait("web", "restarted", |pod| restarts(pod) == 1)?;
    let last = &status(&pod, MAIN)["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 137, "{pod}");
    assert!(place(&trace, "pre").is_some(), "{:?}", trace.marks());
    assert_eq!(place(&trace, "pre-end"), None);
    kube.ok(&["delete", "pod", "web", "--grace-period=1"])?;
    Ok(())
}
