//! What the tests' pods are made of, and what is read from them.

use podhook_integration::kubernetes::{LONG, Namespace, Watch};
use podhook_integration::trace::{Trace, mark};
use podhook_integration::wait;
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

/// Hooks that leave the marks `post` and `pre`.
pub fn both_hooks() -> Value {
    json!({"postStart": exec(&mark("post")), "preStop": exec(&mark("pre"))})
}

/// The life of a pod `web` of `spec`, whose container is [`polite`]: it has [`both_hooks`], each once and in its place.
pub fn hooked(kube: &Namespace<'_>, trace: &Trace, spec: Value) -> Result<(), Error> {
    kube.pod("web", &[(MAIN, &both_hooks())], spec)?;
    kube.ready("web")?;
    left(trace, "ready")?;
    ended_by_deletion(kube, trace)
}

/// The rest of that life.
pub fn ended_by_deletion(kube: &Namespace<'_>, trace: &Trace) -> Result<(), Error> {
    kube.ok(&["delete", "pod", "web"])?;
    let marks = trace.marks();
    let mut started: Vec<_> = marks.iter().take(2).collect();
    started.sort();
    assert_eq!(started, ["post", "ready"], "{marks:?}");
    assert_eq!(marks[2..], ["pre", "got-TERM"], "{marks:?}");
    Ok(())
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
    let lists = [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ];
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

/// Waits for a mark, as long as a pod may take to get there.
pub fn left(trace: &Trace, mark: &str) -> Result<(), Error> {
    left_times(trace, mark, 1)
}

/// Waits until a mark was left so often.
pub fn left_times(trace: &Trace, mark: &str, count: usize) -> Result<(), Error> {
    let what = format!("mark {mark:?}, {count} times");
    wait::until_true(&what, LONG, || trace.count(mark) >= count)
        .map_err(|error| format!("{error}: {:?}", trace.marks()))?;
    Ok(())
}

/// Where a mark stands among the others.
pub fn place(trace: &Trace, mark: &str) -> Option<usize> {
    trace.marks().iter().position(|found| found == mark)
}

/// Waits until a pod's container has ended, and gives its exit status. Asked of a watch, because a pod that is deleted
/// shows it for a moment only.
pub fn exit_code(watch: &Watch) -> Result<i64, Error> {
    let code = |pod: &Value| status(pod, MAIN)["state"]["terminated"]["exitCode"].as_i64();
    let pod = watch.wait("the container's end", |pod| code(pod).is_some())?;
    code(&pod).ok_or("no exit status".into())
}

/// The id of a pod's container.
pub fn id(pod: &Value) -> &str {
    let id = status(pod, MAIN)["containerID"].as_str();
    id.unwrap_or_default().trim_start_matches("containerd://")
}
