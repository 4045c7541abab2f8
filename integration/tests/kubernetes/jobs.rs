//! Pods that come and go: of a CronJob, and behind init containers.

use std::fs;

use podhook_integration::kubernetes::suite::{Test, on_every_side};
use podhook_integration::kubernetes::{LONG, Namespace};
use podhook_integration::trace::mark;
use podhook_integration::{Outcome, kubernetes_tests, wait};
use serde_json::json;

use crate::steps::{MAIN, both_hooks, container, left, one, place, polite, trace, with};

pub fn tests() -> Vec<Test> {
    on_every_side(kubernetes_tests![jobs:
        a_cron_jobs_pod_has_its_post_start,
        a_main_container_has_its_hooks_when_its_init_containers_are_done,
    ])
}

/// The schedule is once a year, and this year's run was missed: the controller makes up for it at once.
fn a_cron_jobs_pod_has_its_post_start(kube: &Namespace<'_>) -> Outcome {
    let trace = trace(kube)?;
    let script = format!(
        "while [ ! -e /trace/go ]; do usleep 50000; done; {}",
        mark("done")
    );
    let spec = with(one(&trace, &script), json!({"restartPolicy": "Never"}));
    let pod = kube.side().pod("unused", &[(MAIN, &both_hooks())], spec);
    let template = json!({
        "metadata": {"annotations": pod["metadata"]["annotations"], "labels": {"app": "tick"}},
        "spec": pod["spec"],
    });
    let job = json!({"spec": {"backoffLimit": 0, "template": template}});
    let cron_job = json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick"},
        "spec": {"schedule": "0 0 1 1 *", "concurrencyPolicy": "Forbid", "jobTemplate": job},
    });
    kube.apply(&cron_job.to_string())?;
    let missed = r#"{"status": {"lastScheduleTime": "2020-01-01T00:30:00Z"}}"#;
    kube.ok(&[
        "patch",
        "cronjob",
        "tick",
        "--subresource=status",
        "--type=merge",
        "--patch",
        missed,
    ])?;
    left(&trace, "post")?;
    kube.ok(&[
        "wait",
        "--for=condition=Ready",
        "pods",
        "--selector=app=tick",
        "--timeout=150s",
    ])?;
    fs::write(trace.dir().join("go"), "")?;
    wait::until_true("the Job's end", LONG, || {
        let jobs = kube.json(&["get", "jobs"]).unwrap_or_default();
        jobs["items"][0]["status"]["succeeded"] == 1
    })?;
    assert_eq!(trace.marks(), ["post", "done"]);
    kube.ok(&["delete", "cronjob", "tick"])?;
    Ok(())
}

/// The first of them fails once.
fn a_main_container_has_its_hooks_when_its_init_containers_are_done(
    kube: &Namespace<'_>,
) -> Outcome {
    let trace = trace(kube)?;
    let first = format!(
        "{}; test -e /trace/again || {{ : > /trace/again; exit 1; }}",
        mark("first")
    );
    let spec = with(
        one(&trace, &polite()),
        json!({"initContainers": [container("first", &first), container("second", &mark("second"))]}),
    );
    kube.pod("web", &[(MAIN, &both_hooks())], spec)?;
    kube.ready("web")?;
    left(&trace, "ready")?;
    let marks = trace.marks();
    assert_eq!(marks[..3], ["first", "first", "second"], "{marks:?}");
    kube.ok(&["delete", "pod", "web"])?;
    assert!(place(&trace, "post") > place(&trace, "second"));
    assert_eq!(trace.marks()[5..], ["pre", "got-TERM"]);
    Ok(())
}
