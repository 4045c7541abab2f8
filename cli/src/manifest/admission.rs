//! What an admission webhook answers of a pod, or of what makes pods, as the API server sends it: so that manifests stay
//! as they are, and podhook runs their hooks. Pure; who asks, and how, is not known here.

use podhook_hooks::lifecycle::{Policy, text};
use serde_json::Value;

use super::check::{self, NO_HOOKS, Rules, Verdict};
use super::convert::{self, Op, Wish};
use super::workload;

/// The API server cuts a longer warning.
const MAX_WARNING: usize = 256;
/// More reasons than these help nobody who reads them in a terminal.
const MAX_REASONS: usize = 5;

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Allowed {
        /// A JSON patch (RFC 6902); none where the pod stays as it is.
        patch: Option<Value>,
        /// For who applies the pod.
        warnings: Vec<String>,
    },
    /// Why the pod could not be run as its author means it.
    Refused { reason: String },
}

/// Moves the hooks of an object's pods into their annotations, and judges what is there then. Which pods are podhook's
/// is the caller's to know; their RuntimeClass stays.
///
/// It may be asked twice of one pod (reinvocation), and then has nothing to do.
#[must_use]
pub fn admit(object: &Value, policy: &Policy) -> Answer {
    let wish = Wish {
        runtime_class: None,
        is_named: true,
    };
    let mut ops: Vec<Op> = Vec::new();
    let mut reasons = Vec::new();
    for workload in workload::workloads(object) {
        let at = workload.pod_at();
        match convert::forward(workload.pod(), &wish) {
            Ok(plan) => ops.extend(plan.ops.into_iter().map(|op| op.below(&at))),
            Err(troubles) => reasons.extend(troubles.into_iter().map(|trouble| {
                let trouble = trouble.below(&at);
                format!("{}: {}: {}", trouble.at, trouble.text, trouble.hint)
            })),
        }
    }
    if !reasons.is_empty() {
        return refused(reasons);
    }
    let mut converted = object.clone();
    convert::apply(&mut converted, &ops);
    let rules = Rules {
        policy: policy.clone(),
        whole: false,
        apply: false,
        classes: Vec::new(),
    };
    let findings = check::of_document(0, &converted, &rules);
    let said = |verdict: Verdict| {
        let found = findings
            .iter()
            .filter(move |finding| finding.verdict == verdict);
        found
            .filter(|finding| finding.text != NO_HOOKS)
            .map(|finding| {
                let text = format!("{}: {}", finding.subject, finding.text);
                text.trim_start_matches(": ").to_owned()
            })
    };
    let reasons: Vec<String> = said(Verdict::Refused).collect();
    if !reasons.is_empty() {
        return refused(reasons);
    }
    Answer::Allowed {
        patch: (!ops.is_empty()).then(|| convert::json_patch(&ops)),
        warnings: said(Verdict::Doubtful)
            .map(|warning| text::shorten(&warning, MAX_WARNING))
            .collect(),
    }
}

fn refused(reasons: Vec<String>) -> Answer {
    let more = reasons.len().saturating_sub(MAX_REASONS);
    let mut shown: Vec<String> = reasons.into_iter().take(MAX_REASONS).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    Answer::Refused {
        reason: shown.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(annotations: &Value, lifecycle: &Value) -> Value {
        json!({
            "kind": "Pod",
            "metadata": {"generateName": "web-", "annotations": annotations},
            "spec": {
                "runtimeClassName": "podhook",
                "volumes": [{"name": "token", "projected": {"sources": []}}],
                "containers": [{"name": "web", "image": "nginx", "lifecycle": lifecycle, "livenessProbe": {}}],
            },
        })
    }

    fn answer(annotations: &Value, lifecycle: &Value) -> Answer {
        admit(&pod(annotations, lifecycle), &Policy::default())
    }

    #[test]
    fn a_pods_hooks_are_moved_once() {
        let hooks = json!({"preStop": {"sleep": {"seconds": 5}}});
        let Answer::Allowed { patch, warnings } = answer(&json!(null), &hooks) else {
            panic!("refused");
        };
        let text = hooks.to_string();
        let expected = json!([
            {"op": "add", "path": "/metadata/annotations", "value": {"lifecycle.podhook.dev/web": text}},
            {"op": "remove", "path": "/spec/containers/0/lifecycle"},
        ]);
        assert_eq!((patch, warnings), (Some(expected), Vec::new()));
        let again = answer(&json!({"lifecycle.podhook.dev/web": text}), &json!(null));
        let nothing = Answer::Allowed {
            patch: None,
            warnings: Vec::new(),
        };
        assert_eq!(again, nothing);
        assert_eq!(answer(&json!({}), &json!({})), nothing);
    }

    #[test]
    fn what_would_not_run_is_refused_and_what_is_doubtful_is_a_warning() {
        for (annotations, lifecycle, says) in [
            (
                json!({"lifecycle.podhook.dev/web": "{"}),
                json!(null),
                "container web: podhook: annotation",
            ),
            (
                json!({"podhook.dev/lifecycle": "{}{"}),
                json!(null),
                "is not valid JSON",
            ),
            (
                json!({}),
                json!({"preStop": {"grpc": {}}, "x": 1}),
                "unknown field",
            ),
            (
                json!({"lifecycle.podhook.dev/web": "{}"}),
                json!({"stopSignal": "SIGTERM"}),
                "is there already",
            ),
        ] {
            match answer(&annotations, &lifecycle) {
                Answer::Refused { reason } => assert!(reason.contains(says), "{reason}"),
                allowed => panic!("{annotations} {lifecycle}: {allowed:?}"),
            }
        }
        let annotations = json!({"lifecycle.podhook.dev/wbe": "{}"});
        let lifecycle = json!({"preStop": {"sleep": {"seconds": 60}}});
        let Answer::Allowed { patch, warnings } = answer(&annotations, &lifecycle) else {
            panic!("refused");
        };
        assert!(patch.is_some());
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].contains("grace period of 30s leaves preStop 28s"),
            "{warnings:?}"
        );
        assert!(warnings[1].contains("no such container"), "{warnings:?}");
    }

    #[test]
    fn what_the_nodes_do_not_allow_is_refused() {
        let config =
            podhook_hooks::config::Config::parse("allowed_handlers = ['sleep']", "config.toml");
        let policy = config.unwrap().policy();
        let exec = json!({"preStop": {"exec": {"command": ["a"]}}});
        assert!(matches!(
            admit(&pod(&json!({}), &exec), &policy),
            Answer::Refused { .. }
        ));
    }
}
