//! What deploy/ has: the webhook, by which manifests stay as they are; the policy; podhook on every node, and off again.

mod across;
mod chart;
mod stage;

use std::fs;

use podhook_integration::command::Output;
use podhook_integration::kubernetes::suite::{Test, alone};
use podhook_integration::kubernetes::{LONG, Namespace, Side, is_ready};
use podhook_integration::trace::Trace;
use podhook_integration::{Outcome, kubernetes_tests, wait};
use serde_json::{Value, json};

use crate::steps::{Error, MAIN, both_hooks, ended_by_deletion, id, left, one, polite, trace};
use across::{
    helm_installs_it_with_the_agent_and_takes_it_away, kubectl_podhook_asks_the_agents_of_all_nodes,
};
use chart::{the_chart_does_what_its_values_say, the_chart_has_what_the_kustomize_base_has};
use stage::{Deployed, SETTINGS};

pub fn tests() -> Vec<Test> {
    let beside = kubernetes_tests![deploy:
        the_chart_has_what_the_kustomize_base_has,
        the_chart_does_what_its_values_say,
    ];
    let alone = alone(kubernetes_tests![deploy:
        a_deployment_as_it_is_has_its_hooks_by_podhook,
        without_the_webhook_pods_have_the_kubelets_hooks,
        a_wrong_annotation_is_refused_when_it_is_applied,
        what_was_there_before_the_policy_can_be_changed,
        the_installer_puts_podhook_on_a_node_and_takes_it_off_when_told,
        kubectl_podhook_asks_the_agents_of_all_nodes,
        helm_installs_it_with_the_agent_and_takes_it_away,
    ]);
    [beside, alone].concat()
}

/// A pod with the kubelet's hooks, as a user has it.
fn pod(trace: &Trace, name: &str) -> Value {
    Side::Lifecycle.pod(name, &[(MAIN, &both_hooks())], one(trace, &polite()))
}

fn deployment(pod: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": pod["metadata"], "spec": pod["spec"]},
        },
    })
}

fn applied(kube: &Namespace<'_>, deployed: &Deployed<'_>, object: &Value) -> Result<Output, Error> {
    Ok(kube.run(&["apply", "-f", &deployed.file("object", object)?])?)
}

/// The hooks that podhook was given for the pod's container; null for none.
fn annotation(pod: &Value) -> &Value {
    &pod["metadata"]["annotations"]["lifecycle.podhook.dev/main"]
}

fn a_deployment_as_it_is_has_its_hooks_by_podhook(kube: &Namespace<'_>) -> Outcome {
    let deployed = Deployed::start(kube, "base")?;
    let trace = trace(kube)?;
    let object = deployment(&pod(&trace, "web"));
    let said = applied(kube, &deployed, &object)?.success()?;
    assert!(!said.stderr.contains("Warning"), "{said:?}");
    let found = wait::until("the Deployment's pod", LONG, || {
        let list = kube.json(&["get", "pods", "-l", "app=web"]).ok()?;
        list["items"].get(0).filter(|pod| is_ready(pod)).cloned()
    })?;
    let spec = &found["spec"];
    assert!(spec["containers"][0]["lifecycle"].is_null(), "{found}");
    let hooks: Value = serde_json::from_str(annotation(&found).as_str().ok_or("no annotation")?)?;
    assert_eq!(hooks, both_hooks());
    assert_eq!(spec["nodeSelector"]["podhook.dev/ready"], "true");
    assert_eq!(spec["overhead"]["memory"], "1Mi");
    left(&trace, "ready")?;
    left(&trace, "post")?;
    let log = kube.log(id(&found));
    let ran = |line: &String| line.contains("hook=postStart") && line.contains("result=Succeeded");
    assert!(log.iter().any(ran), "{log:#?}");
    // Its author sees what is doubtful, though others make the pods.
    let mut doubtful = object.clone();
    let other = json!({"lifecycle.podhook.dev/other": both_hooks().to_string()});
    doubtful["spec"]["template"]["metadata"]["annotations"] = other;
    let said = applied(kube, &deployed, &doubtful)?.success()?;
    let warns = "Warning: annotation lifecycle.podhook.dev/other: the pod has no such container";
    assert!(said.stderr.contains(warns), "{said:?}");
    applied(kube, &deployed, &object)?.success()?;
    kube.ok(&["delete", "deployment", "web"])?;
    left(&trace, "got-TERM")?;
    left(&trace, "pre")?;
    Ok(())
}

fn without_the_webhook_pods_have_the_kubelets_hooks(kube: &Namespace<'_>) -> Outcome {
    let deployed = Deployed::start(kube, "base")?;
    deployed.scale(0)?;
    for has_webhook in [false, true] {
        if has_webhook {
            deployed.scale(1)?;
            deployed.wait_mutating()?;
        }
        let trace = trace(kube)?;
        applied(kube, &deployed, &pod(&trace, "web"))?.success()?;
        let found = kube.ready("web")?;
        let in_spec = &found["spec"]["containers"][0]["lifecycle"];
        assert_eq!(in_spec.is_null(), has_webhook, "{found}");
        assert_eq!(annotation(&found).is_null(), !has_webhook, "{found}");
        left(&trace, "ready")?;
        left(&trace, "post")?;
        let ran = kube
            .log(id(&found))
            .iter()
            .any(|line| line.contains("hook="));
        assert_eq!(ran, has_webhook);
        ended_by_deletion(kube, &trace)?;
    }
    Ok(())
}

fn a_wrong_annotation_is_refused_when_it_is_applied(kube: &Namespace<'_>) -> Outcome {
    let deployed = Deployed::start(kube, "base")?;
    let trace = trace(kube)?;
    let hooks = both_hooks().to_string();
    let with = |key: &str, value: &str, class: Option<&str>| {
        let mut pod = pod(&trace, "web");
        let spec = pod["spec"].as_object_mut();
        if let (Some(spec), None) = (spec, class) {
            spec.remove("runtimeClassName");
        }
        pod["spec"]["containers"][0]["lifecycle"] = json!(null);
        pod["metadata"]["annotations"] = json!({key: value});
        pod
    };
    let policy = "ValidatingAdmissionPolicy 'podhook-annotations'";
    let webhook = "admission webhook \"workloads.podhook.dev\" denied the request";
    let cases = [
        (
            with("lifecycle.podhook.dev/main", "preStop: {}", None),
            policy,
            "is no JSON object",
        ),
        (
            with("podhook.dev/lifecycle", "[]", None),
            policy,
            "is no JSON object",
        ),
        (
            with("podhook.dev/lifecyle", &hooks, None),
            policy,
            "podhook knows no such annotation",
        ),
        (
            with("lifecycle.podhook.dev/man", &hooks, None),
            policy,
            "no such container: its hooks would not run; its containers: main",
        ),
        (
            deployment(&with("lifecycle.podhook.dev/main", "preStop: {}", None)),
            policy,
            "is no JSON object",
        ),
        // What CEL cannot judge.
        (
            deployment(&with(
                "lifecycle.podhook.dev/main",
                r#"{"preStop": {"slep": {}}}"#,
                Some("podhook"),
            )),
            webhook,
            "preStop.slep: unknown field",
        ),
    ];
    for (object, who, why) in cases {
        let said = applied(kube, &deployed, &object)?;
        assert!(
            said.status != 0 && said.stderr.contains(who) && said.stderr.contains(why),
            "{why}: {said:?}"
        );
    }
    let right = with("lifecycle.podhook.dev/main", &hooks, None);
    applied(kube, &deployed, &right)?.success()?;
    kube.ok(&["delete", "pod", "web", "--grace-period=1"])?;
    Ok(())
}

fn what_was_there_before_the_policy_can_be_changed(kube: &Namespace<'_>) -> Outcome {
    let deployed = Deployed::start(kube, "base")?;
    let trace = trace(kube)?;
    let mut object = pod(&trace, "web");
    object["spec"]["runtimeClassName"] = json!("runc");
    object["metadata"]["annotations"] = json!({"lifecycle.podhook.dev/man": "{"});
    let refused = || -> Result<bool, Error> {
        let file = deployed.file("object", &object)?;
        Ok(kube
            .run(&["create", "--dry-run=server", "-f", &file])?
            .status
            != 0)
    };
    assert!(refused()?);
    kube.ok(&[
        "label",
        "namespace",
        kube.name(),
        "podhook.dev/policy=disabled",
    ])?;
    wait::until_true("the label's effect", LONG, || {
        refused().is_ok_and(|refused| !refused)
    })?;
    applied(kube, &deployed, &object)?.success()?;
    kube.ok(&["label", "namespace", kube.name(), "podhook.dev/policy-"])?;
    wait::until_true("the label's end", LONG, || refused().unwrap_or(false))?;
    kube.ok(&["label", "pod", "web", "a=b"])?;
    let worse = kube.run(&["annotate", "pod", "web", "lifecycle.podhook.dev/main={"])?;
    assert!(
        worse.status != 0 && worse.stderr.contains("is no JSON object"),
        "{worse:?}"
    );
    kube.ok(&["delete", "pod", "web", "--grace-period=1"])?;
    Ok(())
}

fn the_installer_puts_podhook_on_a_node_and_takes_it_off_when_told(
    kube: &Namespace<'_>,
) -> Outcome {
    let mut deployed = Deployed::start(kube, "base")?;
    let shim = deployed.node("usr/local/bin/containerd-shim-podhook-v1");
    let config = deployed.node("etc/containerd/config.toml");
    let restarts = deployed.node("restarted");
    let installed = fs::read_to_string(&config)?;
    assert!(
        installed.contains("podhook") && installed.contains("# of the house"),
        "{installed}"
    );
    assert!(shim.exists());
    assert_eq!(fs::read_to_string(&restarts)?, "restart containerd\n");
    assert_eq!(deployed.label()?, "true");
    // A new release of the installer: nothing is taken off, nothing is restarted that has all.
    deployed.ok(&["rollout", "restart", "daemonset/podhook-node"])?;
    deployed.rolled_out("daemonset/podhook-node")?;
    assert!(shim.exists());
    assert_eq!(fs::read_to_string(&config)?, installed);
    assert_eq!(fs::read_to_string(&restarts)?, "restart containerd\n");
    assert_eq!(deployed.label()?, "true");
    only_its_own_label(kube)?;
    deployed.apply("uninstall")?;
    assert_eq!(fs::read_to_string(&config)?, SETTINGS);
    assert!(!shim.exists());
    assert_eq!(
        fs::read_to_string(&restarts)?,
        "restart containerd\n".repeat(2)
    );
    assert_eq!(deployed.label()?, Value::Null);
    Ok(())
}

/// The installer's account may write one label of the node that its pod is on.
fn only_its_own_label(kube: &Namespace<'_>) -> Outcome {
    let node = kube.cluster().node();
    let may = |on: &str, label: &str| -> Result<Output, Error> {
        let extra = format!("authentication.kubernetes.io/node-name={on}");
        let patch = json!({"metadata": {"labels": {label: "x"}}}).to_string();
        let words = [
            "patch",
            "node",
            node,
            "--type=merge",
            "-p",
            &patch,
            "--dry-run=server",
            "--as=system:serviceaccount:podhook:podhook-node",
            "--as-user-extra",
            &extra,
        ];
        Ok(kube.run(&words)?)
    };
    // kubectl looks at what it patches, which the account itself need not.
    let role = format!("{}-looks", kube.name());
    let account = "--serviceaccount=podhook:podhook-node";
    kube.ok(&[
        "create",
        "clusterrole",
        &role,
        "--verb=get",
        "--resource=nodes",
    ])?;
    kube.ok(&[
        "create",
        "clusterrolebinding",
        &role,
        "--clusterrole",
        &role,
        account,
    ])?;
    // The binding is in force a moment later.
    wait::until_true("the account's patch", LONG, || {
        may(node, "podhook.dev/ready").is_ok_and(|said| said.status == 0)
    })?;
    for (on, label, why) in [
        (
            node,
            "other",
            "only the label podhook.dev/ready may be changed",
        ),
        (
            "another",
            "podhook.dev/ready",
            "the node is not the one of this pod",
        ),
    ] {
        let said = may(on, label)?;
        assert!(said.status != 0 && said.stderr.contains(why), "{said:?}");
    }
    kube.ok(&["delete", "clusterrole,clusterrolebinding", &role])?;
    Ok(())
}
