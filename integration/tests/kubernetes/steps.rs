//! What the tests' pods are made of, and what is read from them.

use podhook_integration::kubernetes::Namespace;
use podhook_integration::trace::{Trace, mark};
use serde_json::{Value, json};

pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The container of most pods.
pub const MAIN: &str = "main";

/// `sh -c SCRIPT` as a hook.
pub fn exec(script: &str) -> Value {
    json!({"exec": {"command": ["sh", "-c", script]}})
}

/// A hook that leaves the mark `NAME-begin`, waits to be released and leaves `NAME-end`.
pub fn held(trace: &Trace, name: &str) -> Result<Value, Error> {
    Ok(exec(&trace.hold(name)?))
}

/// A server that leaves `ready`, and on SIGTERM `got-TERM`, and ends then, with status 7.
pub fn polite() -> String {
    server("; exit 7")
}

/// A server that leaves `got-TERM` on SIGTERM and goes on.
pub fn stubborn() -> String {
    server("")
}

fn server(end: &str) -> String {
    format!(
        "trap '{}{end}' TERM; {}; while :; do sleep 600 & wait $!; done",
        mark("got-TERM"),
        mark("ready")
    )
}

/// A container that runs a script and has the trace's folder.
pub fn container(name: &str, script: &str) -> Value {
    json!({
        "name": name,
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "trace", "mountPath": "/trace"}],
    })
}

/// A pod's spec of these containers.
pub fn spec(trace: &Trace, containers: Value) -> Value {
    json!({
        "volumes": [{"name": "trace", "hostPath": {"path": trace.dir()}}],
        "containers": containers,
    })
}

/// The spec of a pod whose one container runs a script.
pub fn one(trace: &Trace, script: &str) -> Value {
    spec(trace, json!([container(MAIN, script)]))
}

/// A spec with more, or other, fields.
pub fn with(mut spec: Value, fields: Value) -> Value {
    if let (Some(spec), Value::Object(fields)) = (spec.as_object_mut(), fields) {
        spec.extend(fields);
    }
    spec
}

/// A trace of a test.
pub fn trace(kube: &Namespace<'_>) -> Result<Trace, Error> {
    Ok(Trace::of(kube.cluster().containerd())?)
}

/// The status of a pod's container; null where there is none yet.
pub fn status<'a>(pod: &'a Value, container: &str) -> &'a Value {
    let lists = ["containerStatuses", "initContainerStatuses"];
    let mut all = lists
        .into_iter()
        .flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    all.find(|status| status["name"] == container)
        .unwrap_or(&Value::Null)
}

/// Whether a pod's container runs, as its pod says.
pub fn runs(pod: &Value) -> bool {
    !status(pod, MAIN)["state"]["running"].is_null()
}

/// How often a pod's container was restarted.
pub fn restarts(pod: &Value) -> u64 {
    status(pod, MAIN)["restartCount"].as_u64().unwrap_or(0)
}
