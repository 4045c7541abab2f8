//! An AdmissionReview (admission.k8s.io/v1) and its answer. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use podhook_hooks::lifecycle::Policy;
use serde_json::{Map, Value, json};

use super::admission::{self, Answer};
use super::judgement;
use super::workload;

const API_VERSION: &str = "admission.k8s.io/v1";

/// What the API server asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Changes of a pod that is made.
    Mutate,
    /// Whether an object may be as it is.
    Validate,
}

/// What holds for every answer.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The RuntimeClasses whose pods are podhook's. An empty name is that of pods without one.
    pub classes: Vec<String>,
    /// What the nodes allow.
    pub policy: Policy,
}

/// What came of a review, for who counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Not podhook's, or nothing to say.
    Unchanged,
    /// Its hooks were moved.
    Changed,
    Denied,
}

impl Outcome {
    /// Its name in the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Denied => "denied",
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reviewed {
    /// The AdmissionReview to send.
    pub body: Value,
    pub outcome: Outcome,
}

/// Why something is no review.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an AdmissionReview of {API_VERSION}: {0}")]
pub struct NoReview(String);

/// The answer to a review.
///
/// # Errors
/// Where it is none.
pub fn answer(ask: Ask, bytes: &[u8], rules: &Rules) -> Result<Reviewed, NoReview> {
    let review: Value = serde_json::from_slice(bytes).map_err(|e| NoReview(e.to_string()))?;
    let text = |pointer: &str| review.pointer(pointer).and_then(Value::as_str);
    let refused = |why: &str| Err(NoReview(why.to_owned()));
    match (text("/apiVersion"), text("/kind")) {
        (Some(API_VERSION), Some("AdmissionReview")) => {}
        (Some(version), Some("AdmissionReview")) => {
            return refused(&format!("apiVersion {version}"));
        }
        _ => return refused("another kind"),
    }
    let Some(uid) = text("/request/uid").filter(|uid| !uid.is_empty()) else {
        return refused("request.uid is missing");
    };
    let Some(operation) = text("/request/operation") else {
        return refused("request.operation is missing");
    };
    let kind = text("/request/kind/kind").unwrap_or_default();
    let field = |name: &str| review.get("request").and_then(|request| request.get(name));
    let object = field("object").map(|object| with_kind(object, kind));
    let before = field("oldObject").map(|object| with_kind(object, kind));
    let judged =
        object.filter(|object| concerns(ask, operation, kind, object, before.as_ref(), rules));
    let answer = judged.map(|object| admission::admit(&object, &rules.policy));
    let mut response = Map::new();
    response.insert("uid".to_owned(), uid.into());
    let refused = matches!(answer, Some(Answer::Refused { .. }));
    response.insert("allowed".to_owned(), (!refused).into());
    let mut outcome = Outcome::Unchanged;
    match answer {
        None => {}
        Some(Answer::Refused { reason }) => {
            let status = json!({"code": 422, "reason": "Invalid", "message": reason});
            response.insert("status".to_owned(), status);
            outcome = Outcome::Denied;
        }
        Some(Answer::Allowed { patch, warnings }) => {
            // Both are asked of a pod: one says it.
            if ask == Ask::Validate && !warnings.is_empty() {
                response.insert("warnings".to_owned(), warnings.into());
            }
            if let Some(patch) = patch.filter(|_| ask == Ask::Mutate) {
                response.insert("patchType".to_owned(), "JSONPatch".into());
                let patch = STANDARD.encode(patch.to_string());
                response.insert("patch".to_owned(), patch.into());
                outcome = Outcome::Changed;
            }
        }
    }
    let body = json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response});
    Ok(Reviewed { body, outcome })
}

/// What an object is, which it may leave to the review to say.
fn with_kind(object: &Value, kind: &str) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.entry("kind").or_insert_with(|| kind.into());
    }
    object
}

/// Whether there is anything to change or to judge. What is there already, and stays as it was, is not judged again:
/// else nobody could change, or delete, what was made without the webhook.
fn concerns(
    ask: Ask,
    operation: &str,
    kind: &str,
    object: &Value,
    before: Option<&Value>,
    rules: &Rules,
) -> bool {
    let ours = |pod: &Value| {
        let class = pod
            .pointer("/spec/runtimeClassName")
            .and_then(Value::as_str);
        let class = class.unwrap_or_default();
        rules.classes.iter().any(|one| one == class)
    };
    let is_ours = |object: &Value| {
        let workloads = workload::workloads(object);
        workloads
            .iter()
            .any(|workload| workload.is_known && ours(workload.pod()))
    };
    match (ask, operation) {
        (Ask::Mutate, "CREATE") => kind == "Pod" && is_ours(object),
        (Ask::Validate, "CREATE") => is_ours(object),
        (Ask::Validate, "UPDATE") => {
            is_ours(object) && before.is_none_or(|before| said(before) != said(object))
        }
        _ => false,
    }
}

/// All that an object says of hooks, and of the containers that have them.
fn said(object: &Value) -> Vec<Value> {
    let workloads = workload::workloads(object);
    let of_pod = |pod: &Value| {
        let annotations = pod
            .pointer("/metadata/annotations")
            .and_then(Value::as_object);
        let annotations = annotations.into_iter().flatten();
        let ours: Map<_, _> = annotations
            .filter(|(key, _)| judgement::is_ours(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let mut containers = Vec::new();
        for list in ["containers", "initContainers"] {
            let all = pod
                .pointer(&format!("/spec/{list}"))
                .and_then(Value::as_array);
            for container in all.into_iter().flatten() {
                let field = |name: &str| container.get(name).cloned().unwrap_or_default();
                containers.push(json!([field("name"), field("lifecycle"), field("ports")]));
            }
        }
        json!([ours, containers])
    };
    workloads
        .iter()
        .map(|workload| of_pod(workload.pod()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOKS: &str = r#"{"preStop": {"sleep": {"seconds": 5}}}"#;

    fn rules() -> Rules {
        Rules {
            classes: vec!["podhook".to_owned()],
            policy: Policy::default(),
        }
    }

    fn hooks() -> Value {
        serde_json::from_str(HOOKS).unwrap()
    }

    fn pod(class: &str, annotations: &Value, lifecycle: &Value) -> Value {
        json!({
            "metadata": {"generateName": "web-", "annotations": annotations},
            "spec": {"runtimeClassName": class, "containers": [{"name": "web", "lifecycle": lifecycle}]},
        })
    }

    fn deployment(template: &Value) -> Value {
        json!({"metadata": {"name": "web"}, "spec": {"template": template}})
    }

    fn review(operation: &str, kind: &str, object: &Value, before: &Value) -> Vec<u8> {
        let request = json!({
            "uid": "u1", "operation": operation, "kind": {"group": "", "version": "v1", "kind": kind},
            "object": object, "oldObject": before, "dryRun": true,
        });
        let review =
            json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "request": request});
        review.to_string().into_bytes()
    }

    fn ask(
        ask: Ask,
        operation: &str,
        kind: &str,
        object: &Value,
        before: &Value,
    ) -> (Value, Outcome) {
        let reviewed = answer(ask, &review(operation, kind, object, before), &rules()).unwrap();
        assert_eq!(reviewed.body["response"]["uid"], "u1");
        assert_eq!(reviewed.body["kind"], "AdmissionReview");
        (reviewed.body["response"].clone(), reviewed.outcome)
    }

    #[test]
    fn a_pod_of_the_runtime_class_has_its_hooks_moved_by_a_patch() {
        let (response, outcome) = ask(
            Ask::Mutate,
            "CREATE",
            "Pod",
            &pod("podhook", &json!(null), &hooks()),
            &json!(null),
        );
        assert_eq!(
            (response["allowed"].as_bool(), outcome),
            (Some(true), Outcome::Changed)
        );
        assert_eq!(response["patchType"], "JSONPatch");
        let patch = STANDARD
            .decode(response["patch"].as_str().unwrap())
            .unwrap();
        let patch: Value = serde_json::from_slice(&patch).unwrap();
        assert_eq!(
            patch[0]["value"]["lifecycle.podhook.dev/web"],
            hooks().to_string()
        );
        assert_eq!(
            patch[1],
            json!({"op": "remove", "path": "/spec/containers/0/lifecycle"})
        );
    }

    #[test]
    fn all_else_stays_as_it_is() {
        let plain = pod("podhook", &json!(null), &hooks());
        let nothing = (json!({"allowed": true, "uid": "u1"}), Outcome::Unchanged);
        for (asked, operation, kind, object) in [
            (
                Ask::Mutate,
                "CREATE",
                "Pod",
                pod("runc", &json!(null), &hooks()),
            ),
            (
                Ask::Mutate,
                "CREATE",
                "Pod",
                pod("podhook", &json!(null), &json!(null)),
            ),
            // Reinvocation.
            (
                Ask::Mutate,
                "CREATE",
                "Pod",
                pod(
                    "podhook",
                    &json!({"lifecycle.podhook.dev/web": HOOKS}),
                    &json!(null),
                ),
            ),
            (Ask::Mutate, "UPDATE", "Pod", plain.clone()),
            (Ask::Mutate, "CREATE", "Deployment", deployment(&plain)),
            (Ask::Mutate, "DELETE", "Pod", json!(null)),
            (Ask::Validate, "DELETE", "Pod", json!(null)),
            (Ask::Validate, "CREATE", "Pod", plain.clone()),
            (Ask::Validate, "CREATE", "Deployment", deployment(&plain)),
            (
                Ask::Validate,
                "CREATE",
                "Rollout",
                deployment(&pod(
                    "podhook",
                    &json!({"podhook.dev/lifecycle": "{"}),
                    &json!(null),
                )),
            ),
            (Ask::Validate, "CREATE", "Service", json!({"spec": 5})),
            (Ask::Validate, "CREATE", "Pod", json!([])),
        ] {
            assert_eq!(
                ask(asked, operation, kind, &object, &json!(null)),
                nothing,
                "{operation} {kind} {object}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_denied_of_pods_and_of_what_makes_them() {
        let wrong = pod(
            "podhook",
            &json!({"lifecycle.podhook.dev/web": "{"}),
            &json!(null),
        );
        for (kind, object) in [("Pod", wrong.clone()), ("Deployment", deployment(&wrong))] {
            let (response, outcome) = ask(Ask::Validate, "CREATE", kind, &object, &json!(null));
            assert_eq!(
                (response["allowed"].as_bool(), outcome),
                (Some(false), Outcome::Denied)
            );
            let message = response["status"]["message"].as_str().unwrap();
            assert!(
                message.starts_with("container web: podhook: annotation lifecycle.podhook.dev/web"),
                "{message}"
            );
        }
    }

    #[test]
    fn what_is_doubtful_is_told_once_and_runs() {
        let doubtful = pod(
            "podhook",
            &json!({"lifecycle.podhook.dev/wbe": HOOKS}),
            &json!(null),
        );
        for (kind, object) in [
            ("Pod", doubtful.clone()),
            ("Deployment", deployment(&doubtful)),
        ] {
            let (response, _) = ask(Ask::Validate, "CREATE", kind, &object, &json!(null));
            assert_eq!(response["allowed"], true);
            let warning = response["warnings"][0].as_str().unwrap();
            assert!(
                warning.contains("the pod has no such container"),
                "{warning}"
            );
            let (response, _) = ask(Ask::Mutate, "CREATE", kind, &object, &json!(null));
            assert!(response["warnings"].is_null(), "{response}");
        }
    }

    #[test]
    fn what_was_there_before_can_be_changed_in_other_places() {
        let annotated = |text: &str| json!({"lifecycle.podhook.dev/web": text});
        let mut labelled = pod("podhook", &annotated("{"), &json!(null));
        let before = labelled.clone();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        let (response, _) = ask(Ask::Validate, "UPDATE", "Pod", &labelled, &before);
        assert_eq!(response["allowed"], true);
        let right = pod("podhook", &annotated(HOOKS), &json!(null));
        let (response, _) = ask(Ask::Validate, "UPDATE", "Pod", &before, &right);
        assert_eq!(response["allowed"], false);
    }

    #[test]
    fn what_is_no_review_is_said_to_be_none() {
        let good = review("CREATE", "Pod", &json!({}), &json!(null));
        let good: Value = serde_json::from_slice(&good).unwrap();
        let without = |pointer: &str| {
            let mut review = good.clone();
            *review.pointer_mut(pointer).unwrap() = json!(null);
            review.to_string()
        };
        for (text, says) in [
            ("{".to_owned(), "EOF while parsing"),
            (json!({"kind": "Pod"}).to_string(), "another kind"),
            (
                good.to_string().replace("/v1\"", "/v1beta1\""),
                "apiVersion admission.k8s.io/v1beta1",
            ),
            (without("/request/uid"), "request.uid"),
            (without("/request/operation"), "request.operation"),
            (without("/request"), "request.uid"),
        ] {
            let error = answer(Ask::Mutate, text.as_bytes(), &rules())
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("not an AdmissionReview") && error.contains(says),
                "{error}"
            );
        }
    }
}
