//! Hooks that want more time than they have.

use std::time::Duration;

use podhook_hooks::lifecycle::{DEFAULT_GRACE_PERIOD, Handler, Hook, Lifecycle};
use serde_json::Value;

/// Kept for the process after its preStop.
const RESERVE: u64 = 2;
/// What the kubelet gives a start by default: `runtimeRequestTimeout`.
const START: u64 = 120;

/// A hook that is cut short.
pub(super) struct Cut {
    /// As `preStop.timeoutSeconds`.
    pub(super) field: String,
    pub(super) reason: String,
    pub(super) hint: String,
}

/// The hooks that are cut. `spec` is the pod's `terminationGracePeriodSeconds`.
pub(super) fn cuts(lifecycle: &Lifecycle, spec: &Value) -> Vec<Cut> {
    let is_number = spec.is_null() || spec.is_u64();
    let of_pod = spec.as_u64().map(Duration::from_secs);
    let own = lifecycle.termination_grace_period;
    let grace = own.or(of_pod).unwrap_or(DEFAULT_GRACE_PERIOD).as_secs();
    let left = grace.saturating_sub(RESERVE).max(grace / 2);
    let mut cuts = Vec::new();
    // Of what is no number nothing can be said but that.
    if let Some((field, wants)) = lifecycle.pre_stop.as_ref().and_then(wants)
        && (is_number || own.is_some())
        && wants > left
    {
        let whose = match (own, of_pod) {
            (Some(_), _) => "the lifecycle's grace period",
            (None, Some(_)) => "the pod's grace period",
            (None, None) => "the default grace period",
        };
        cuts.push(Cut {
            field: format!("preStop.{field}"),
            reason: match grace {
                0 => format!("is {wants}s, and with {whose} of 0s preStop does not run"),
                _ => format!(
                    "is {wants}s, and {whose} of {grace}s leaves preStop {left}s: then it is ended"
                ),
            },
            hint: format!(
                "terminationGracePeriodSeconds: {} of the pod, or less here",
                wants.saturating_add(RESERVE)
            ),
        });
    }
    let left = START.saturating_sub(RESERVE);
    if let Some((field, wants)) = lifecycle.post_start.as_ref().and_then(wants)
        && wants > left
    {
        cuts.push(Cut {
            field: format!("postStart.{field}"),
            reason: format!(
                "is {wants}s, and under a kubelet a start has {START}s: then it is ended"
            ),
            hint: format!(
                "runtimeRequestTimeout of the kubelet: {}s or more, or less here",
                wants.saturating_add(RESERVE)
            ),
        });
    }
    cuts
}

/// How long a hook may take by its own word, in seconds.
fn wants(hook: &Hook) -> Option<(&'static str, u64)> {
    let sleep = match &hook.handler {
        Handler::Sleep { seconds } => Some(u64::from(*seconds)),
        _ => None,
    };
    let timeout = hook.timeout.map(|timeout| timeout.as_secs());
    match (sleep, timeout) {
        (Some(sleep), timeout) if timeout.is_none_or(|timeout| sleep <= timeout) => {
            Some(("sleep.seconds", sleep))
        }
        (_, timeout) => timeout.map(|timeout| ("timeoutSeconds", timeout)),
    }
}

#[cfg(test)]
mod tests {
    use podhook_hooks::lifecycle::Ports;
    use serde_json::json;

    use super::*;

    fn cut(lifecycle: &str, spec: &Value) -> Vec<String> {
        let lifecycle = Lifecycle::from_json(lifecycle, &Ports::Unknown).unwrap();
        let cuts = cuts(&lifecycle, spec);
        cuts.iter()
            .map(|cut| format!("{}: {}", cut.field, cut.reason))
            .collect()
    }

    #[test]
    fn a_hook_has_the_grace_period_less_what_the_process_needs() {
        let none = Value::Null;
        let hook = r#"{"preStop": {"exec": {"command": ["a"]}, "timeoutSeconds": 29}}"#;
        assert_eq!(
            cut(hook, &none),
            [
                "preStop.timeoutSeconds: is 29s, and the default grace period of 30s leaves preStop 28s: then it is ended"
            ]
        );
        assert!(cut(hook, &json!(31)).is_empty());
        assert!(cut(&hook.replace("29", "28"), &none).is_empty());
        assert!(
            cut(hook, &json!("20")).is_empty(),
            "that is said of its type"
        );
        let own = hook.replace("29}", "29}, \"terminationGracePeriodSeconds\": 4");
        assert!(
            cut(&own, &json!(60))[0]
                .contains("the lifecycle's grace period of 4s leaves preStop 2s")
        );
        let sleep = r#"{"preStop": {"sleep": {"seconds": 5}, "timeoutSeconds": 50}}"#;
        assert!(cut(sleep, &none).is_empty(), "it ends before its timeout");
        assert_eq!(
            cut(sleep, &json!(0)),
            [
                "preStop.sleep.seconds: is 5s, and with the pod's grace period of 0s preStop does not run"
            ]
        );
        let start = r#"{"postStart": {"sleep": {"seconds": 5}, "timeoutSeconds": 1}}"#;
        assert!(cut(start, &none).is_empty());
        let start = start.replace(": 1}", ": 300}").replace(": 5}", ": 200}");
        assert!(cut(&start, &none)[0].starts_with("postStart.sleep.seconds: is 200s"));
    }
}
