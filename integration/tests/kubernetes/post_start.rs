//! postStart under a kubelet: Running means hooked, probes come after it, and what a failure looks like.

use std::thread;
use std::time::{Duration, SystemTime};

use podhook_integration::kubernetes::Namespace;
use podhook_integration::kubernetes::suite::{Test, on_every_side};
use podhook_integration::trace::mark;
use podhook_integration::{Outcome, kubernetes_tests};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::steps::{
    MAIN, exec, held, left, one, place, polite, restarts, runs, status, trace, with,
};

pub fn tests() -> Vec<Test> {
    let all = on_every_side(kubernetes_tests![post_start:
        running_means_hooked,
        probes_wait_for_it,
        a_failed_one_ends_the_container_and_the_next_one_has_it_again,
    ]);
    let own = kubernetes_tests![post_start:
        a_timed_out_one_fails_the_pod_and_says_so,
        a_hung_one_is_over_at_its_timeout_and_the_pod_can_go,
        describe_shows_a_wrong_annotation,
    ];
    [all, own].concat()
}

/// What a broken hook or probe would do meanwhile, it does within this time. Nothing is asserted of it.
const A_WHILE: Duration = Duration::from_secs(3);

fn running_means_hooked(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let watch = kube.watch("web")?;
    let hooks = json!({"postStart": held(&trace, "hook")?});
    kube.pod("web", &[(MAIN, &hooks)], one(&trace, &polite()))?;
    left(&trace, "ready")?;
    left(&trace, "hook-begin")?;
    thread::sleep(A_WHILE);
    let table = kube.ok(&["get", "pod", "web"])?;
    assert!(
        table.contains("0/1") && table.contains("ContainerCreating"),
        "{table}"
    );
    assert!(!watch.states().iter().any(runs));
    trace.release("hook")?;
    let pod = watch.wait("running", runs)?;
    let text = status(&pod, MAIN)["state"]["running"]["startedAt"]
        .as_str()
        .ok_or("no start")?;
    let started = SystemTime::from(OffsetDateTime::parse(text, &Rfc3339)?);
    // The API has whole seconds.
    let second = Duration::from_secs(1);
    if kube.side().is_podhook() {
        assert!(started + second > trace.time("hook-end")?);
    } else {
        assert!(started < trace.time("hook-end")?);
    }
    kube.ready("web")?;
    Ok(())
}

fn probes_wait_for_it(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let probe = |name: &str| {
        let mut probe = exec(&mark(name));
        probe["periodSeconds"] = json!(1);
        probe["timeoutSeconds"] = json!(60);
        probe
    };
    let mut spec = one(&trace, &polite());
    spec["containers"][0]["startupProbe"] = probe("startup");
    spec["containers"][0]["readinessProbe"] = probe("readiness");
    let hooks = json!({"postStart": held(&trace, "hook")?});
    kube.pod("probed", &[(MAIN, &hooks)], spec)?;
    left(&trace, "hook-begin")?;
    thread::sleep(A_WHILE);
    trace.release("hook")?;
    kube.ready("probed")?;
    let order = ["hook-end", "startup", "readiness"].map(|mark| place(&trace, mark));
    assert!(order.is_sorted() && order[0].is_some(), "{order:?}");
    Ok(())
}

fn a_failed_one_ends_the_container_and_the_next_one_has_it_again(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let watch = kube.watch("failing")?;
    let script = format!("{}; echo no luck; exit 3", mark("hook"));
    let hooks = json!({"postStart": exec(&script)});
    kube.pod("failing", &[(MAIN, &hooks)], one(&trace, &polite()))?;
    let waiting = |pod: &Value| status(pod, MAIN)["state"]["waiting"].clone();
    let reason = if kube.side().is_podhook() {
        "RunContainerError"
    } else {
        "PostStartHookError"
    };
    let pod = watch.wait(reason, |pod| waiting(pod)["reason"] == reason)?;
    if kube.side().is_podhook() {
        let message = waiting(&pod)["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(
            message.contains("FailedPostStartHook: exec [")
                && message.contains("exited with status 3: no luck"),
            "{message}"
        );
    } else {
        kube.wait_event("failing", "FailedPostStartHook")?;
    }
    // By its signal, and not by SIGKILL.
    left(&trace, "got-TERM")?;
    let pod = kube.wait("failing", "restarted", |pod| restarts(pod) > 0)?;
    let last = &status(&pod, MAIN)["lastState"]["terminated"];
    if kube.side().is_podhook() {
        assert_eq!(
            (&last["reason"], &last["exitCode"]),
            (&json!("StartError"), &json!(128)),
            "{pod}"
        );
    } else {
        assert_eq!(last["exitCode"], 7, "{pod}");
    }
    kube.wait_event("failing", "BackOff")?;
    assert!(trace.count("hook") > 1);
    Ok(())
}

fn a_timed_out_one_fails_the_pod_and_says_so(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let mut hook = exec("echo so far; exec sleep 600");
    hook["timeoutSeconds"] = json!(1);
    let spec = with(one(&trace, &polite()), json!({"restartPolicy": "Never"}));
    kube.pod("slow", &[(MAIN, &json!({"postStart": hook}))], spec)?;
    let pod = kube.wait("slow", "failed", |pod| pod["status"]["phase"] == "Failed")?;
    let ended = &status(&pod, MAIN)["state"]["terminated"];
    assert_eq!(ended["reason"], "StartError", "{pod}");
    let said = "timed out after 1s (timeoutSeconds): so far";
    assert!(
        ended["message"].as_str().unwrap_or_default().contains(said),
        "{ended}"
    );
    let described = kube.ok(&["describe", "pod", "slow"])?;
    assert!(described.contains(said), "{described}");
    Ok(())
}

fn a_hung_one_is_over_at_its_timeout_and_the_pod_can_go(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let mut hook = held(&trace, "hook")?;
    hook["timeoutSeconds"] = json!(15);
    kube.pod(
        "hung",
        &[(MAIN, &json!({"postStart": hook}))],
        one(&trace, &polite()),
    )?;
    left(&trace, "hook-begin")?;
    kube.ok(&["delete", "pod", "hung", "--grace-period=5"])?;
    assert_eq!(place(&trace, "hook-end"), None);
    left(&trace, "got-TERM")?;
    Ok(())
}

fn describe_shows_a_wrong_annotation(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let wrong = json!({"postStart": {"exec": {"command": []}}});
    kube.pod("wrong", &[(MAIN, &wrong)], one(&trace, &polite()))?;
    let event = kube.wait_event("wrong", "lifecycle.podhook.dev/main")?;
    assert!(event.contains("postStart.exec.command"), "{event}");
    assert_eq!(place(&trace, "ready"), None);
    Ok(())
}
