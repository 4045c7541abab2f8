//! What the API server would refuse.

use super::*;

/// Lines of `spec`, lines of the container, and the cause.
const CASES: &[(&str, &str, &str)] = &[
    ("hostname: Big", "", "spec.hostname: Invalid value: \"Big\""),
    (
        "terminationGracePeriodSeconds: -1",
        "",
        "spec.terminationGracePeriodSeconds: Invalid value",
    ),
    (
        "dnsPolicy: None",
        "",
        "spec.dnsConfig.nameservers: Required value",
    ),
    (
        "hostPID: true\nshareProcessNamespace: true",
        "",
        "spec.shareProcessNamespace: Invalid value",
    ),
    (
        "volumes: [{name: v}]",
        "",
        "spec.volumes[0]: Required value: must specify a volume type",
    ),
    (
        "volumes: [{name: v, emptyDir: {}}, {name: v, emptyDir: {}}]",
        "",
        "spec.volumes[1].name: Duplicate value: \"v\"",
    ),
    (
        "volumes: [{name: v, emptyDir: {}, hostPath: {path: /v}}]",
        "",
        "spec.volumes[0].hostPath: Forbidden",
    ),
    (
        "volumes: [{name: v, hostPath: {path: /a/../b}}]",
        "",
        "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
    ),
    (
        "volumes: [{name: v, hostPath: {path: a}}]",
        "",
        "spec.volumes[0].hostPath.path: Invalid value: \"a\": must be an absolute path",
    ),
    (
        "",
        "volumeMounts: [{name: v, mountPath: /v}]",
        "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
    ),
    (
        "volumes: [{name: v, emptyDir: {}}]",
        "volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v}]",
        "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/v\": must be unique",
    ),
    (
        "volumes: [{name: v, emptyDir: {}}]",
        "volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]",
        "Bidirectional mount propagation is available only to privileged containers",
    ),
    (
        "",
        "ports: [{containerPort: 70000}]",
        "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    (
        "",
        "ports: [{containerPort: 80, name: a}, {containerPort: 81, name: a}]",
        "spec.containers[0].ports[1].name: Duplicate value: \"a\"",
    ),
    (
        "",
        "resources: {limits: {memory: 64MB}}",
        "spec.containers[0].resources.limits.memory: Invalid value: \"64MB\"",
    ),
    (
        "",
        "resources: {limits: {cpu: -1}}",
        "spec.containers[0].resources.limits.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
    ),
    (
        "",
        "resources: {limits: {cpu: 1}, requests: {cpu: 2}}",
        "must be less than or equal to cpu limit of 1",
    ),
    (
        "",
        "env: [{name: \"A=B\", value: x}]",
        "spec.containers[0].env[0].name: Invalid value",
    ),
    (
        "",
        "env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
        "may not be specified when `value` is not empty",
    ),
    (
        "",
        "securityContext: {privileged: true, allowPrivilegeEscalation: false}",
        "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
    ),
    (
        "",
        "lifecycle: {preStop: {exec: {command: [a]}, sleep: {seconds: 1}}}",
        "spec.containers[0].lifecycle.preStop: Forbidden: may not specify more than 1 handler type",
    ),
    (
        "",
        "lifecycle: {postStart: {exec: {command: []}}}",
        "spec.containers[0].lifecycle.postStart.exec.command: Required value",
    ),
    (
        "",
        "lifecycle: {preStop: {sleep: {seconds: -1}}}",
        "spec.containers[0].lifecycle.preStop.sleep.seconds: Invalid value: -1",
    ),
    (
        "",
        "lifecycle: {postStart: {}}",
        "spec.containers[0].lifecycle.postStart: Required value: must specify a handler type",
    ),
];

#[test]
fn invalid_values_are_refused_as_the_api_server_does() {
    for (spec, container, cause) in CASES {
        let error = error(&manifest(spec, container));
        assert!(
            error.starts_with("The Pod \"web\" is invalid: "),
            "{cause}: {error}"
        );
        assert!(error.contains(cause), "{cause}: {error}");
    }
}

#[test]
fn names_are_checked_and_several_causes_are_listed() {
    let text = manifest("", "")
        .replace("name: web", "name: Web_1")
        .replace("name: c", "name: C");
    let error = error(&text);
    assert!(
        error.contains("\n* metadata.name: Invalid value: \"Web_1\""),
        "{error}"
    );
    assert!(
        error.contains("\n* spec.containers[0].name: Invalid value: \"C\""),
        "{error}"
    );
}

#[test]
fn a_pod_needs_containers_with_images_and_different_names() {
    let head = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n";
    assert!(error(head).contains("spec: Required value"));
    assert!(
        error(&format!("{head}spec: {{containers: []}}"))
            .contains("spec.containers: Required value")
    );
    assert!(
        error(&format!("{head}spec: {{containers: [{{name: a}}]}}"))
            .contains("spec.containers[0].image: Required value")
    );
    let twice =
        format!("{head}spec: {{containers: [{{name: a, image: i}}, {{name: a, image: i}}]}}");
    assert!(error(&twice).contains("spec.containers[1].name: Duplicate value: \"a\""));
}

#[test]
fn a_lifecycle_has_one_source() {
    let text = manifest("", "lifecycle: {preStop: {sleep: {seconds: 1}}}").replace(
        "  name: web\n",
        "  name: web\n  annotations:\n    lifecycle.podhook.dev/c: '{}'\n",
    );
    let error = error(&text);
    assert!(
        error.contains("spec.containers[0].lifecycle: Forbidden"),
        "{error}"
    );
    assert!(
        error.contains("metadata.annotations[lifecycle.podhook.dev/c]"),
        "{error}"
    );
}

#[test]
fn a_runtime_class_needs_a_handler() {
    let error =
        error("apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: a}\nhandler: \"\"");
    assert_eq!(
        error,
        "The RuntimeClass \"a\" is invalid: handler: Required value"
    );
}
