//! Lifecycles in annotations: judged as Create will, before there is a sandbox.

use super::*;
use crate::manifest::lifecycle_doubts;

/// A pod of the containers `c` and `d` with these annotations, and this lifecycle in the first.
fn with(annotations: &str, lifecycle: &str) -> String {
    let text = manifest(
        "",
        &format!("ports: [{{name: http, containerPort: 80}}]\n{lifecycle}"),
    );
    let text = text.replace(
        "  name: web\n",
        &format!("  name: web\n  annotations:\n    {annotations}\n"),
    );
    format!("{text}  - name: d\n    image: nginx\n")
}

#[test]
fn a_wrong_annotation_is_refused_with_its_key_and_field() {
    for (key, path) in [
        ("lifecycle.podhook.dev/c", "preStop.httpGet.port"),
        ("podhook.dev/lifecycle", "preStop.httpGet.port"),
    ] {
        let json = r#"{"preStop": {"httpGet": {"port": "none"}}}"#;
        let error = error(&with(&format!("{key}: '{json}'"), ""));
        let start = format!(
            "The Pod \"web\" is invalid: metadata.annotations[{key}]: Invalid value: {path}: "
        );
        assert!(
            error.starts_with(&start) || error.contains(&start[28..]),
            "{error}"
        );
    }
    let error = error(&with(
        "lifecycle.podhook.dev/c: 'preStop: {httpGet: {port: http}}'",
        "",
    ));
    assert!(
        error.ends_with(r#", and must be JSON: {"preStop":{"httpGet":{"port":"http"}}}"#),
        "{error}"
    );
}

#[test]
fn an_annotation_of_no_container_is_a_warning() {
    let pod = pod(&with("lifecycle.podhook.dev/e: 'nonsense'", ""));
    let doubts = lifecycle_doubts(&pod);
    assert_eq!(
        doubts,
        [
            "annotation lifecycle.podhook.dev/e: the pod has no such container: its hooks will not run"
        ]
    );
}

#[test]
fn a_hook_that_the_annotation_for_every_container_replaces_is_refused() {
    let field = "lifecycle: {preStop: {sleep: {seconds: 1}}}";
    let error = error(&with(
        r#"podhook.dev/lifecycle: '{"preStop": {"sleep": {"seconds": 5}}}'"#,
        field,
    ));
    assert!(
        error.ends_with(
            "spec.containers[0].lifecycle.preStop: Forbidden: metadata.annotations[podhook.dev/lifecycle] sets it \
             for every container"
        ),
        "{error}"
    );
    // Other fields are merged, as the shim does.
    pod(&with(
        r#"podhook.dev/lifecycle: '{"output": "container"}'"#,
        field,
    ));
}

/// KEP-4929: no type of this Kubernetes has the field yet.
#[test]
fn a_timeout_in_the_exec_reaches_the_shim() {
    let lifecycle = "lifecycle:\n  preStop:\n    exec: {command: [drain], timeoutSeconds: 5}\n";
    let pod = pod(&manifest("", lifecycle));
    let annotations = sandbox::config(&pod, &placement()).annotations;
    let value: serde_json::Value =
        serde_json::from_str(&annotations["lifecycle.podhook.dev/c"]).unwrap();
    let expected =
        serde_json::json!({"preStop": {"exec": {"command": ["drain"], "timeoutSeconds": 5}}});
    assert_eq!(value, expected);
    for (timeouts, says) in [
        ("timeoutSeconds: 0", "Invalid value: must be between 1 and"),
        ("timeoutSeconds: soon", "expected a whole number"),
    ] {
        let error = error(&manifest(
            "",
            &lifecycle.replace("timeoutSeconds: 5", timeouts),
        ));
        let path = "spec.containers[0].lifecycle.preStop.exec.timeoutSeconds: ";
        assert!(error.contains(path) && error.contains(says), "{error}");
    }
}

#[test]
fn a_host_that_can_be_none_is_refused() {
    let error = error(&manifest(
        "",
        "lifecycle: {preStop: {httpGet: {port: 80, host: 10.0.0}}}",
    ));
    assert!(
        error.contains("preStop.httpGet.host: Invalid value: \"10.0.0\" must be a host name"),
        "{error}"
    );
}
