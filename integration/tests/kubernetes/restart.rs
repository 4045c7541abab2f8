//! A kubelet and a containerd that are killed and started again while a pod starts, runs and ends.

use std::fs;
use std::thread;

use podhook_integration::chaos::HeldRuntime;
use podhook_integration::kubernetes::Namespace;
use podhook_integration::kubernetes::suite::{Test, alone, on_every_side};
use podhook_integration::trace::{Trace, mark};
use podhook_integration::{Outcome, kubernetes_tests};
use serde_json::json;

use crate::steps::{
    Error, MAIN, both_hooks, container, exit_code, held, id, left, left_times, one, place, polite,
    restarts, trace, with,
};

pub fn tests() -> Vec<Test> {
    alone(on_every_side(kubernetes_tests![restart:
        the_kubelets_while_the_container_is_made,
        a_running_pod_outlives_the_kubelets,
        a_running_pod_outlives_containerds,
        the_kubelets_during_post_start,
        containerds_during_post_start,
        the_kubelets_during_pre_stop,
        containerds_during_pre_stop,
        the_kubelets_while_the_container_ends,
    ]))
}

/// A restart of the kubelet, or of containerd.
type Restart = fn(&Namespace<'_>) -> Result<(), Error>;

fn kubelet(kube: &Namespace<'_>) -> Result<(), Error> {
    kube.cluster().restart_kubelet()?;
    Ok(kube.cluster().wait_ready()?)
}

fn containerd(kube: &Namespace<'_>) -> Result<(), Error> {
    Ok(kube.cluster().restart_containerd()?)
}

/// The call that nobody waits for any more goes on; its container is none of the pod's, or it is the pod's.
fn the_kubelets_while_the_container_is_made(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let runtime = HeldRuntime::install(kube.cluster().containerd())?;
    // While this one runs, the pod has its sandbox, and its container is the next to be made.
    let first = container("first", &trace.hold("first")?);
    let spec = with(one(&trace, &polite()), json!({"initContainers": [first]}));
    kube.pod("web", &[(MAIN, &both_hooks())], spec)?;
    left(&trace, "first-begin")?;
    let mut create = runtime.hold_next("create")?;
    trace.release("first")?;
    create.wait()?;
    kubelet(kube)?;
    create.release()?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    kube.ok(&["delete", "pod", "web"])?;
    for mark in ["post", "ready", "pre", "got-TERM"] {
        assert_eq!(trace.count(mark), 1, "{mark}: {:?}", trace.marks());
    }
    Ok(())
}

fn a_running_pod_outlives_the_kubelets(kube: &Namespace<'_>) -> Outcome {
    running(kube, kubelet)
}

fn a_running_pod_outlives_containerds(kube: &Namespace<'_>) -> Outcome {
    running(kube, containerd)
}

fn running(kube: &Namespace<'_>, restart: Restart) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"postStart": held(&trace, "post")?, "preStop": held(&trace, "pre")?});
    kube.pod("web", &[(MAIN, &hooks)], one(&trace, &polite()))?;
    go_on(&trace, "post")?;
    let before = kube.ready("web")?;
    restart(kube)?;
    // What comes of it has come when another pod runs.
    kube.pod("other", &[], one(&trace, "sleep 600"))?;
    kube.ready("other")?;
    let after = kube.ready("web")?;
    assert_eq!((id(&after), restarts(&after)), (id(&before), 0));
    thread::scope(|scope| -> Outcome {
        let deleting = scope.spawn(|| kube.ok(&["delete", "pod", "web"]));
        go_on(&trace, "pre")?;
        deleting.join().map_err(|_| "kubectl panicked")??;
        Ok(())
    })?;
    for mark in ["post-begin", "post-end", "pre-begin", "pre-end", "got-TERM"] {
        assert_eq!(trace.count(mark), 1, "{mark}: {:?}", trace.marks());
    }
    Ok(())
}

fn go_on(trace: &Trace, name: &str) -> Outcome {
    left(trace, &format!("{name}-begin"))?;
    trace.release(name)?;
    left(trace, &format!("{name}-end"))
}

/// k/k#122803: a kubelet that restarts loses its hook, and takes the container for hooked. podhook's container has
/// never been running: the next one has the hook.
fn the_kubelets_during_post_start(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"postStart": held(&trace, "hook")?});
    kube.pod("web", &[(MAIN, &hooks)], one(&trace, &polite()))?;
    left(&trace, "hook-begin")?;
    kubelet(kube)?;
    if kube.side().is_podhook() {
        left_times(&trace, "hook-begin", 2)?;
        trace.release("hook")?;
        kube.ready("web")?;
        assert!(trace.has("hook-end"));
    } else {
        kube.ready("web")?;
        assert!(!trace.has("hook-end"), "{:?}", trace.marks());
    }
    Ok(())
}

/// The kubelet's hook is lost with containerd, and so is its order to end the container, which is Running and Ready for
/// ever without its hook. podhook's container has never been running: containerd ends it, and the next one has the hook.
fn containerds_during_post_start(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"postStart": held(&trace, "hook")?});
    kube.pod("web", &[(MAIN, &hooks)], one(&trace, &polite()))?;
    left(&trace, "hook-begin")?;
    containerd(kube)?;
    if kube.side().is_podhook() {
        left_times(&trace, "hook-begin", 2)?;
        trace.release("hook")?;
        let pod = kube.ready("web")?;
        assert!(trace.has("hook-end"));
        assert_eq!(restarts(&pod), 1, "{pod}");
    } else {
        kube.wait_event("web", "FailedPostStartHook")?;
        let pod = kube.ready("web")?;
        assert!(!trace.has("hook-end"), "{:?}", trace.marks());
        assert_eq!(restarts(&pod), 0, "{pod}");
    }
    Ok(())
}

/// The kubelet begins its hook anew, podhook's goes on.
fn the_kubelets_during_pre_stop(kube: &Namespace<'_>) -> Outcome {
    let trace = deleted_and_restarted(kube, kubelet)?;
    let expected = if kube.side().is_podhook() { 1 } else { 2 };
    left_times(&trace, "hook-begin", expected)?;
    trace.release("hook")?;
    kube.gone("web")?;
    assert_eq!(trace.count("hook-begin"), expected, "{:?}", trace.marks());
    assert!(trace.has("hook-end"), "{:?}", trace.marks());
    assert!(place(&trace, "got-TERM").is_some());
    Ok(())
}

/// The kubelet has lost its hook, whose process goes on, and begins anew; podhook's goes on.
fn containerds_during_pre_stop(kube: &Namespace<'_>) -> Outcome {
    let trace = deleted_and_restarted(kube, containerd)?;
    trace.release("hook")?;
    left(&trace, "hook-end")?;
    let mut expected = 1;
    if !kube.side().is_podhook() {
        expected = 2;
        left_times(&trace, "hook-begin", expected)?;
        trace.release("hook")?;
    }
    kube.gone("web")?;
    for mark in ["hook-begin", "hook-end"] {
        assert_eq!(trace.count(mark), expected, "{:?}", trace.marks());
    }
    assert!(place(&trace, "got-TERM").is_some());
    Ok(())
}

/// The kubelet begins its hook anew, although the container has its signal; podhook's ran, and does not run again.
fn the_kubelets_while_the_container_ends(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    // A second signal does not end it: the trap is at work.
    let trap = format!(
        "{}; until [ -e /trace/go ]; do sleep 0.1; done; exit 7",
        mark("got-TERM")
    );
    let script = format!("trap '{trap}' TERM; while :; do sleep 600 & wait $!; done");
    let spec = with(
        one(&trace, &script),
        json!({"terminationGracePeriodSeconds": 600}),
    );
    kube.pod("web", &[(MAIN, &both_hooks())], spec)?;
    kube.ready("web")?;
    let watch = kube.watch("web")?;
    kube.ok(&["delete", "pod", "web", "--wait=false"])?;
    left(&trace, "got-TERM")?;
    kubelet(kube)?;
    // What comes of it has come when another pod runs.
    kube.pod("other", &[], one(&trace, "sleep 600"))?;
    kube.ready("other")?;
    let expected = if kube.side().is_podhook() { 1 } else { 2 };
    left_times(&trace, "pre", expected)?;
    fs::write(trace.dir().join("go"), "")?;
    assert_eq!(exit_code(&watch)?, 7);
    kube.gone("web")?;
    assert_eq!(trace.count("pre"), expected, "{:?}", trace.marks());
    assert_eq!(trace.count("post"), 1, "{:?}", trace.marks());
    Ok(())
}

/// A pod whose preStop has begun before the restart.
fn deleted_and_restarted(kube: &Namespace<'_>, restart: Restart) -> Result<Trace, Error> {
    let trace = trace(kube)?;
    let hooks = json!({"preStop": held(&trace, "hook")?});
    let spec = with(
        one(&trace, &polite()),
        json!({"terminationGracePeriodSeconds": 600}),
    );
    kube.pod("web", &[(MAIN, &hooks)], spec)?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    kube.ok(&["delete", "pod", "web", "--wait=false"])?;
    left(&trace, "hook-begin")?;
    restart(kube)?;
    Ok(trace)
}
