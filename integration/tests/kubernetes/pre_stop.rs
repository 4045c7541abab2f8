//! preStop under a kubelet: `kubectl delete` with each grace period, and what a failure looks like.

use std::thread;

use podhook_integration::containerd::remains;
use podhook_integration::kubernetes::suite::{Test, on_every_side};
use podhook_integration::kubernetes::{LONG, Namespace, Version};
use podhook_integration::trace::{Trace, mark};
use podhook_integration::{Outcome, kubernetes_tests, wait};
use serde_json::{Value, json};

use crate::steps::{
    Error, MAIN, exec, exit_code, held, id, left, left_times, one, place, polite, restarts,
    stubborn, trace, with,
};

pub fn tests() -> Vec<Test> {
    on_every_side(kubernetes_tests![pre_stop:
        the_signal_follows_it_within_a_grace_period_of_60_seconds,
        the_pods_own_grace_period_cuts_it_and_leaves_time_for_the_signal,
        a_deletion_with_a_grace_period_of_5_seconds_cuts_it,
        a_deletion_with_a_grace_period_of_1_second_cuts_it,
        a_deletion_with_a_grace_period_of_0_seconds_cuts_it,
        a_forced_deletion_leaves_nothing,
        a_failed_one_is_told_and_the_signal_is_sent,
        a_failed_liveness_probe_runs_it_before_the_restart,
        readiness_probes_and_exec_go_on_beside_it,
    ])
}

/// A hook that ends when its container does, or its time is over.
fn endless() -> Value {
    exec(&format!(
        "{}; sleep 600; {}",
        mark("hook-begin"),
        mark("hook-end")
    ))
}

fn the_signal_follows_it_within_a_grace_period_of_60_seconds(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let script = format!("{}; sleep 2; {}", mark("hook-begin"), mark("hook-end"));
    let hooks = json!({"preStop": exec(&script)});
    kube.pod("web", &[(MAIN, &hooks)], one(&trace, &polite()))?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    let watch = kube.watch("web")?;
    kube.ok(&["delete", "pod", "web", "--grace-period=60"])?;
    assert_eq!(
        trace.marks(),
        ["ready", "hook-begin", "hook-end", "got-TERM"]
    );
    assert_eq!(exit_code(&watch)?, 7);
    Ok(())
}

fn the_pods_own_grace_period_cuts_it_and_leaves_time_for_the_signal(
    kube: &Namespace<'_>,
) -> Outcome {
    let trace = trace(kube)?;
    let spec = with(
        one(&trace, &polite()),
        json!({"terminationGracePeriodSeconds": 8}),
    );
    kube.pod("web", &[(MAIN, &json!({"preStop": endless()}))], spec)?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    let watch = kube.watch("web")?;
    kube.ok(&["delete", "pod", "web"])?;
    assert_eq!(trace.marks(), ["ready", "hook-begin", "got-TERM"]);
    assert_eq!(exit_code(&watch)?, 7);
    Ok(())
}

fn a_deletion_with_a_grace_period_of_5_seconds_cuts_it(kube: &Namespace<'_>) -> Outcome {
    cut(kube, "--grace-period=5")
}

fn a_deletion_with_a_grace_period_of_1_second_cuts_it(kube: &Namespace<'_>) -> Outcome {
    cut(kube, "--grace-period=1")
}

/// kubectl makes 1 of it where nothing is forced.
fn a_deletion_with_a_grace_period_of_0_seconds_cuts_it(kube: &Namespace<'_>) -> Outcome {
    cut(kube, "--grace-period=0")
}

/// A pod whose preStop and container do not end by themselves.
fn stubborn_and_ready(kube: &Namespace<'_>) -> Result<Trace, Error> {
    let trace = trace(kube)?;
    let hooks = json!({"preStop": endless()});
    kube.pod("web", &[(MAIN, &hooks)], one(&trace, &stubborn()))?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    Ok(trace)
}

/// A deletion's period is not the pod's, for which a runtime plans: the kubelet's SIGKILL ends hook and container.
fn cut(kube: &Namespace<'_>, grace: &str) -> Outcome {
    let trace = stubborn_and_ready(kube)?;
    let watch = kube.watch("web")?;
    kube.ok(&["delete", "pod", "web", grace])?;
    assert_eq!(exit_code(&watch)?, 137);
    assert_eq!(place(&trace, "hook-end"), None);
    assert!(place(&trace, "hook-begin").is_some(), "{:?}", trace.marks());
    Ok(())
}

fn a_forced_deletion_leaves_nothing(kube: &Namespace<'_>) -> Outcome {
    let trace = stubborn_and_ready(kube)?;
    let shim = kube.shim_of("web")?.ok_or("no shim")?;
    kube.ok(&["delete", "pod", "web", "--force", "--grace-period=0"])?;
    kube.gone("web")?;
    let address = kube.cluster().containerd().address();
    wait::until_true("the shim's end", LONG, || {
        !remains::shims(&address).contains(&shim)
    })?;
    assert_eq!(place(&trace, "hook-end"), None);
    Ok(())
}

fn a_failed_one_is_told_and_the_signal_is_sent(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"preStop": exec("echo cannot flush; exit 4")});
    kube.pod("web", &[(MAIN, &hooks)], one(&trace, &polite()))?;
    let pod = kube.ready("web")?;
    left(&trace, "ready")?;
    let watch = kube.watch("web")?;
    kube.ok(&["delete", "pod", "web"])?;
    assert_eq!(exit_code(&watch)?, 7);
    if kube.side().is_podhook() {
        let log = kube.log(id(&pod));
        let told = log
            .iter()
            .any(|line| line.contains("hook=preStop") && line.contains("exited with status 4"));
        assert!(told, "{log:#?}");
    } else {
        kube.wait_event("web", "FailedPreStopHook")?;
    }
    Ok(())
}

fn a_failed_liveness_probe_runs_it_before_the_restart(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let mut probe = exec("test ! -e /trace/sick");
    probe["periodSeconds"] = json!(1);
    probe["timeoutSeconds"] = json!(60);
    probe["failureThreshold"] = json!(1);
    let mut spec = one(&trace, &polite());
    spec["containers"][0]["livenessProbe"] = probe;
    let hooks = json!({"preStop": exec(&format!("{}; rm -f /trace/sick", mark("hook")))});
    kube.pod("sick", &[(MAIN, &hooks)], spec)?;
    kube.ready("sick")?;
    left(&trace, "ready")?;
    std::fs::write(trace.dir().join("sick"), "")?;
    let pod = kube.wait("sick", "restarted", |pod| restarts(pod) == 1)?;
    left_times(&trace, "ready", 2)?;
    assert_eq!(
        trace.marks(),
        ["ready", "hook", "got-TERM", "ready"],
        "{pod}"
    );
    kube.wait_event("sick", "failed liveness probe, will be restarted")?;
    Ok(())
}

fn readiness_probes_and_exec_go_on_beside_it(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let mut probe = exec(&mark("probe"));
    probe["periodSeconds"] = json!(1);
    probe["timeoutSeconds"] = json!(60);
    let mut spec = one(&trace, &polite());
    spec["containers"][0]["readinessProbe"] = probe;
    spec["terminationGracePeriodSeconds"] = json!(600);
    let hooks = json!({"preStop": held(&trace, "hook")?});
    kube.pod("web", &[(MAIN, &hooks)], spec)?;
    kube.ready("web")?;
    let watch = kube.watch("web")?;
    thread::scope(|scope| -> Outcome {
        let deleting = scope.spawn(|| kube.ok(&["delete", "pod", "web"]));
        let meanwhile = || -> Outcome {
            left(&trace, "hook-begin")?;
            assert_eq!(
                kube.ok(&["exec", "web", "--", "echo", "meanwhile"])?,
                "meanwhile\n"
            );
            // A kubelet before 1.37 gives its probes up when the pod's deletion begins.
            if kube.cluster().version() == Version::V1_36 {
                return Ok(());
            }
            let probes = trace.count("probe");
            left_times(&trace, "probe", probes + 2)
        };
        let outcome = meanwhile();
        trace.release("hook")?;
        deleting.join().map_err(|_| "kubectl panicked")??;
        outcome
    })?;
    assert_eq!(exit_code(&watch)?, 7);
    assert!(place(&trace, "hook-end") < place(&trace, "got-TERM"));
    Ok(())
}
