//! What kubectl shows of hooks that fail again and again, hang, or take too long, and how such a pod ends.

use podhook_integration::containerd::remains;
use podhook_integration::kubernetes::suite::{Test, on_every_side};
use podhook_integration::kubernetes::{LONG, Namespace};
use podhook_integration::trace::mark;
use podhook_integration::{Outcome, kubernetes_tests, wait};
use serde_json::{Value, json};

use crate::steps::{
    MAIN, exec, exit_code, held, id, left, one, place, polite, restarts, status, trace, with,
};

pub fn tests() -> Vec<Test> {
    let all = on_every_side(kubernetes_tests![failures:
        a_failing_post_starts_container_is_in_back_off_as_describe_shows,
        a_hook_that_is_no_program_says_so,
        a_failed_post_starts_pod_that_is_never_restarted_has_failed,
        a_forced_deletion_during_post_start_leaves_nothing,
    ]);
    let own = kubernetes_tests![failures:
        a_timed_out_post_starts_container_is_started_again,
        a_timed_out_pre_stop_is_cut_and_the_signal_is_sent,
    ];
    [all, own].concat()
}

fn waiting(pod: &Value) -> &Value {
    &status(pod, MAIN)["state"]["waiting"]
}

fn a_failing_post_starts_container_is_in_back_off_as_describe_shows(
    kube: &Namespace<'_>,
) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"postStart": exec("echo no luck; exit 3")});
    kube.pod("web", &[(MAIN, &hooks)], one(&trace, &polite()))?;
    let pod = kube.wait("web", "in back-off", |pod| {
        waiting(pod)["reason"] == "CrashLoopBackOff"
    })?;
    assert!(restarts(&pod) > 0, "{pod}");
    let why = if kube.side().is_podhook() {
        ["StartError", "exited with status 3: no luck"]
    } else {
        ["FailedPostStartHook", "PostStartHook failed"]
    };
    let back_off = ["CrashLoopBackOff", "Back-off restarting failed container"];
    let all = [why, back_off].concat();
    // Between two tries it is in back-off.
    let mut described = String::new();
    wait::until_true("kubectl describe to say so", LONG, || {
        described = kube.ok(&["describe", "pod", "web"]).unwrap_or_default();
        all.iter().all(|text| described.contains(text))
    })
    .map_err(|error| format!("{error}: {described}"))?;
    Ok(())
}

fn a_hook_that_is_no_program_says_so(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"postStart": {"exec": {"command": ["/no/such/program"]}}});
    kube.pod("web", &[(MAIN, &hooks)], one(&trace, &polite()))?;
    kube.wait("web", "restarted", |pod| restarts(pod) > 0)?;
    if kube.side().is_podhook() {
        let event = kube.wait_event("web", "FailedPostStartHook")?;
        assert!(event.contains("/no/such/program"), "{event}");
        assert!(event.contains("no such file or directory"), "{event}");
    } else {
        // The program is all it says.
        kube.wait_event("web", "FailedPostStartHook")?;
    }
    Ok(())
}

fn a_failed_post_starts_pod_that_is_never_restarted_has_failed(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"postStart": exec("exit 3"), "preStop": exec(&mark("pre"))});
    let spec = with(one(&trace, &polite()), json!({"restartPolicy": "Never"}));
    kube.pod("web", &[(MAIN, &hooks)], spec)?;
    let pod = kube.wait("web", "failed", |pod| pod["status"]["phase"] == "Failed")?;
    let ended = &status(&pod, MAIN)["state"]["terminated"];
    let expected = if kube.side().is_podhook() { 128 } else { 7 };
    assert_eq!(ended["exitCode"], expected, "{pod}");
    left(&trace, "got-TERM")?;
    assert!(place(&trace, "pre") < place(&trace, "got-TERM"));
    assert!(place(&trace, "pre").is_some(), "{:?}", trace.marks());
    Ok(())
}

/// The API forgets the pod at once. The node ends it when the hook lets it.
fn a_forced_deletion_during_post_start_leaves_nothing(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let hooks = json!({"postStart": held(&trace, "hook")?});
    kube.pod("web", &[(MAIN, &hooks)], one(&trace, &polite()))?;
    left(&trace, "hook-begin")?;
    let shim = kube.shim_of("web")?.ok_or("no shim")?;
    kube.ok(&["delete", "pod", "web", "--force", "--grace-period=0"])?;
    kube.gone("web")?;
    trace.release("hook")?;
    let address = kube.cluster().containerd().address();
    wait::until_true("the shim's end", LONG, || {
        !remains::shims(&address).contains(&shim)
    })?;
    left(&trace, "got-TERM")
}

fn a_timed_out_post_starts_container_is_started_again(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let script = format!(
        "{}; test -e /trace/second && exit 0; : > /trace/second; exec sleep 600",
        mark("hook")
    );
    let mut hook = exec(&script);
    hook["timeoutSeconds"] = json!(1);
    let hooks = json!({"postStart": hook});
    kube.pod("web", &[(MAIN, &hooks)], one(&trace, &polite()))?;
    let pod = kube.ready("web")?;
    assert_eq!((restarts(&pod), trace.count("hook")), (1, 2), "{pod}");
    kube.wait_event("web", "timed out after 1s (timeoutSeconds)")?;
    let described = kube.ok(&["describe", "pod", "web"])?;
    for text in ["StartError", "Restart Count:  1"] {
        assert!(described.contains(text), "{text}: {described}");
    }
    Ok(())
}

fn a_timed_out_pre_stop_is_cut_and_the_signal_is_sent(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let script = format!("{}; sleep 600; {}", mark("pre"), mark("pre-end"));
    let mut hook = exec(&script);
    hook["timeoutSeconds"] = json!(1);
    let spec = with(
        one(&trace, &polite()),
        json!({"terminationGracePeriodSeconds": 600}),
    );
    kube.pod("web", &[(MAIN, &json!({"preStop": hook}))], spec)?;
    let pod = kube.ready("web")?;
    left(&trace, "ready")?;
    let watch = kube.watch("web")?;
    kube.ok(&["delete", "pod", "web"])?;
    assert_eq!(trace.marks(), ["ready", "pre", "got-TERM"]);
    assert_eq!(exit_code(&watch)?, 7);
    let log = kube.log(id(&pod));
    let told = |line: &String| line.contains("hook=preStop") && line.contains("timed out after 1s");
    assert!(log.iter().any(told), "{log:#?}");
    Ok(())
}
