//! What becomes of a template, without any text.

use serde_json::{Value, json};

use super::*;

fn wish(class: Option<&str>, is_named: bool) -> Wish {
    Wish {
        runtime_class: class.map(str::to_owned),
        is_named,
    }
}

fn default() -> Wish {
    wish(Some("podhook"), false)
}

fn done(pod: &Value, plan: &Plan) -> Value {
    let mut pod = pod.clone();
    apply(&mut pod, &plan.ops);
    pod
}

fn pod() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "terminationGracePeriodSeconds": 60,
            "containers": [
                {"name": "nginx", "lifecycle": {"preStop": {"sleep": {"seconds": 5}}, "postStart": null}},
                {"name": "log"},
            ],
            "initContainers": [
                {"name": "proxy", "restartPolicy": "Always", "lifecycle": {"stopSignal": "SIGQUIT"}},
            ],
        },
    })
}

#[test]
fn hooks_go_to_the_annotations_and_the_grace_period_stays_the_pods() {
    let plan = forward(&pod(), &default()).unwrap();
    let expected = json!({
        "metadata": {"name": "web", "annotations": {
            "lifecycle.podhook.dev/nginx": r#"{"preStop":{"sleep":{"seconds":5}}}"#,
            "lifecycle.podhook.dev/proxy": r#"{"stopSignal":"SIGQUIT"}"#,
        }},
        "spec": {
            "runtimeClassName": "podhook",
            "terminationGracePeriodSeconds": 60,
            "containers": [{"name": "nginx"}, {"name": "log"}],
            "initContainers": [{"name": "proxy", "restartPolicy": "Always"}],
        },
    });
    let there = done(&pod(), &plan);
    assert_eq!(there, expected);
    assert_eq!(plan.containers, ["nginx", "proxy"]);
    let again = done(&there, &back(&there, &default()).unwrap());
    let mut original = pod();
    original["spec"]["containers"][0]["lifecycle"]
        .as_object_mut()
        .unwrap()
        .remove("postStart");
    assert_eq!(again, original);
    assert_eq!(
        forward(&there, &default()),
        Ok(Plan::default()),
        "once is enough"
    );
    assert_eq!(back(&again, &default()), Ok(Plan::default()));
}

/// What an admission webhook answers.
#[test]
fn the_changes_are_a_json_patch() {
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"a/b": "c"});
    pod["spec"]["runtimeClassName"] = json!("podhook");
    pod["spec"]
        .as_object_mut()
        .unwrap()
        .remove("initContainers");
    let plan = forward(&pod, &wish(None, false)).unwrap();
    let expected = json!([
        {
            "op": "add",
            "path": "/metadata/annotations/lifecycle.podhook.dev~1nginx",
            "value": r#"{"preStop":{"sleep":{"seconds":5}}}"#,
        },
        {"op": "remove", "path": "/spec/containers/0/lifecycle"},
    ]);
    assert_eq!(json_patch(&plan.ops), expected);
}

#[test]
fn what_is_in_both_places_and_the_same_is_taken_from_the_spec() {
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({
        "lifecycle.podhook.dev/nginx": r#"{ "preStop": {"sleep": {"seconds": 5}} }"#,
        "lifecycle.podhook.dev/proxy": r#"{"stopSignal": "SIGTERM"}"#,
    });
    let troubles = forward(&pod, &default()).unwrap_err();
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert_eq!(
        troubles[0].at.to_string(),
        "spec.initContainers[0].lifecycle"
    );
    pod["spec"]
        .as_object_mut()
        .unwrap()
        .remove("initContainers");
    pod["metadata"]["annotations"]
        .as_object_mut()
        .unwrap()
        .remove("lifecycle.podhook.dev/proxy");
    let plan = forward(&pod, &default()).unwrap();
    assert_eq!(plan.ops.len(), 2, "{:?}", plan.ops);
    assert_eq!(plan.notes.len(), 1);
    assert!(
        done(&pod, &plan)["spec"]["containers"][0]
            .get("lifecycle")
            .is_none()
    );
}

#[test]
fn a_class_that_is_there_stays_if_it_may_be_podhooks() {
    let with = |class: &str| {
        let mut pod = pod();
        pod["spec"]["runtimeClassName"] = json!(class);
        pod
    };
    for (class, wish, is_taken) in [
        ("podhook", default(), true),
        ("podhook-crun", default(), true),
        ("gvisor", default(), false),
        ("gvisor", wish(Some("gvisor"), true), true),
        ("podhook", wish(Some("podhook-crun"), true), false),
        ("gvisor", wish(None, true), true),
    ] {
        let plan = forward(&with(class), &wish);
        assert_eq!(plan.is_ok(), is_taken, "{class} {wish:?}");
        if let Ok(plan) = plan {
            let there = done(&with(class), &plan);
            assert_eq!(there["spec"]["runtimeClassName"], json!(class));
            let again = done(&there, &back(&there, &wish).unwrap());
            let stays = wish.runtime_class.as_deref() != Some(class);
            assert_eq!(
                again["spec"].get("runtimeClassName").is_some(),
                stays,
                "{class} {wish:?}"
            );
        }
    }
}

#[test]
fn annotations_for_nobody_and_of_no_form_do_not_go_back() {
    for (annotations, at, says) in [
        (
            json!({"lifecycle.podhook.dev/wbe": "{}"}),
            "metadata.annotations[lifecycle.podhook.dev/wbe]",
            "no container",
        ),
        (
            json!({"lifecycle.podhook.dev/log": 5}),
            "metadata.annotations[lifecycle.podhook.dev/log]",
            "string",
        ),
        (
            json!({"lifecycle.podhook.dev/log": "{"}),
            "metadata.annotations[lifecycle.podhook.dev/log]",
            "not valid JSON",
        ),
        (
            json!({"lifecycle.podhook.dev/log": r#"{"output": "container"}"#}),
            "metadata.annotations[lifecycle.podhook.dev/log]",
            "output: Kubernetes has no such field",
        ),
        (
            json!({"podhook.dev/lifecycle": "{}"}),
            "metadata.annotations[podhook.dev/lifecycle]",
            "every container",
        ),
        (
            json!({"lifecycle.podhook.dev/nginx": r#"{"stopSignal": "INT"}"#}),
            "metadata.annotations[lifecycle.podhook.dev/nginx]",
            "has a lifecycle already",
        ),
    ] {
        let mut pod = pod();
        pod["metadata"]["annotations"] = annotations;
        let troubles = back(&pod, &default()).unwrap_err();
        assert_eq!(troubles.len(), 1, "{troubles:?}");
        assert_eq!(troubles[0].at.to_string(), at);
        assert!(troubles[0].text.contains(says), "{troubles:?}");
    }
}

#[test]
fn all_annotations_together_may_not_be_longer_than_kubernetes_allows() {
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"a": "x".repeat(256 * 1024 - 100)});
    let troubles = forward(&pod, &default()).unwrap_err();
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert!(
        troubles[0].text.contains("Kubernetes allows 262144"),
        "{troubles:?}"
    );
}

#[test]
fn an_execs_own_timeout_goes_along() {
    let mut pod = pod();
    let timed = json!({"preStop": {"exec": {"command": ["a"], "timeoutSeconds": 5}}});
    pod["spec"]["containers"][0]["lifecycle"] = timed.clone();
    let there = done(&pod, &forward(&pod, &default()).unwrap());
    let again = done(&there, &back(&there, &default()).unwrap());
    assert_eq!(again["spec"]["containers"][0]["lifecycle"], timed);
}

#[test]
fn a_stop_signal_goes_back_with_a_word_about_what_kubernetes_wants_with_it() {
    let annotations = json!({"lifecycle.podhook.dev/c": "{\"stopSignal\": \"SIGQUIT\"}"});
    let mut pod = json!({
        "metadata": {"annotations": annotations},
        "spec": {"containers": [{"name": "c"}]},
    });
    let plan = back(&pod, &default()).unwrap();
    assert_eq!(plan.notes.len(), 1, "{plan:?}");
    assert!(
        plan.notes[0].text.contains("without spec.os.name"),
        "{plan:?}"
    );
    pod["spec"]["os"] = json!({"name": "linux"});
    assert_eq!(back(&pod, &default()).unwrap().notes, []);
}

#[test]
fn what_is_no_pod_has_nothing_to_move() {
    for value in [
        json!(null),
        json!({}),
        json!({"spec": 5}),
        json!({"metadata": [], "spec": {"containers": {}}}),
    ] {
        assert_eq!(forward(&value, &default()), Ok(Plan::default()));
        assert_eq!(back(&value, &default()), Ok(Plan::default()));
    }
}
