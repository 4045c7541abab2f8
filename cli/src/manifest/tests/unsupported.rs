//! Every field that podhook does not implement is an error that names it.

use super::*;

/// Lines of `spec`, lines of the container, and the path that the error must name.
const FIELDS: &[(&str, &str, &str)] = &[
    ("activeDeadlineSeconds: 5", "", "spec.activeDeadlineSeconds"),
    ("affinity: {nodeAffinity: {}}", "", "spec.affinity"),
    (
        "automountServiceAccountToken: true",
        "",
        "spec.automountServiceAccountToken",
    ),
    (
        "ephemeralContainers: [{name: d}]",
        "",
        "spec.ephemeralContainers",
    ),
    ("hostAliases: [{ip: 10.0.0.1}]", "", "spec.hostAliases"),
    ("hostUsers: false", "", "spec.hostUsers"),
    ("imagePullSecrets: [{name: s}]", "", "spec.imagePullSecrets"),
    ("initContainers: [{name: i}]", "", "spec.initContainers"),
    ("nodeName: n", "", "spec.nodeName"),
    ("nodeSelector: {disk: ssd}", "", "spec.nodeSelector"),
    ("os: {name: windows}", "", "spec.os.name"),
    ("overhead: {cpu: 1}", "", "spec.overhead"),
    ("priority: 5", "", "spec.priority"),
    ("priorityClassName: high", "", "spec.priorityClassName"),
    (
        "readinessGates: [{conditionType: x}]",
        "",
        "spec.readinessGates",
    ),
    ("resourceClaims: [{name: r}]", "", "spec.resourceClaims"),
    ("resources: {limits: {cpu: 1}}", "", "spec.resources"),
    ("schedulerName: mine", "", "spec.schedulerName"),
    ("serviceAccountName: robot", "", "spec.serviceAccountName"),
    ("setHostnameAsFQDN: true", "", "spec.setHostnameAsFQDN"),
    ("subdomain: s", "", "spec.subdomain"),
    ("tolerations: [{key: k}]", "", "spec.tolerations"),
    (
        "topologySpreadConstraints: [{maxSkew: 1}]",
        "",
        "spec.topologySpreadConstraints",
    ),
    (
        "securityContext: {seLinuxOptions: {level: s0}}",
        "",
        "spec.securityContext.seLinuxOptions",
    ),
    (
        "securityContext: {appArmorProfile: {type: Unconfined}}",
        "",
        "spec.securityContext.appArmorProfile",
    ),
    (
        "securityContext: {supplementalGroupsPolicy: Strict}",
        "",
        "spec.securityContext.supplementalGroupsPolicy",
    ),
    (
        "volumes: [{name: v, configMap: {name: m}}]",
        "",
        "spec.volumes[0].configMap",
    ),
    (
        "volumes: [{name: v, secret: {secretName: m}}]",
        "",
        "spec.volumes[0].secret",
    ),
    (
        "volumes: [{name: v, projected: {sources: [{}]}}]",
        "",
        "spec.volumes[0].projected",
    ),
    (
        "volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]",
        "",
        "spec.volumes[0].persistentVolumeClaim",
    ),
    (
        "volumes: [{name: v, nfs: {server: s}}]",
        "",
        "spec.volumes[0].nfs",
    ),
    (
        "volumes: [{name: v, emptyDir: {medium: HugePages}}]",
        "",
        "spec.volumes[0].emptyDir.medium",
    ),
    (
        "volumes: [{name: v, emptyDir: {sizeLimit: 1Gi}}]",
        "",
        "spec.volumes[0].emptyDir.sizeLimit",
    ),
    (
        "",
        "envFrom: [{configMapRef: {name: m}}]",
        "spec.containers[0].envFrom",
    ),
    (
        "",
        "env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]",
        "spec.containers[0].env[0].valueFrom.secretKeyRef",
    ),
    (
        "",
        "env: [{name: A, valueFrom: {configMapKeyRef: {name: s, key: k}}}]",
        "spec.containers[0].env[0].valueFrom.configMapKeyRef",
    ),
    (
        "",
        "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]",
        "spec.containers[0].env[0].valueFrom.resourceFieldRef",
    ),
    (
        "",
        "env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]",
        "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
    ),
    (
        "",
        "livenessProbe: {exec: {command: [\"true\"]}}",
        "spec.containers[0].livenessProbe",
    ),
    (
        "",
        "readinessProbe: {tcpSocket: {port: 80}}",
        "spec.containers[0].readinessProbe",
    ),
    (
        "",
        "startupProbe: {tcpSocket: {port: 80}}",
        "spec.containers[0].startupProbe",
    ),
    (
        "",
        "resizePolicy: [{resourceName: cpu}]",
        "spec.containers[0].resizePolicy",
    ),
    (
        "",
        "restartPolicy: Always",
        "spec.containers[0].restartPolicy",
    ),
    (
        "",
        "volumeDevices: [{name: v}]",
        "spec.containers[0].volumeDevices",
    ),
    (
        "",
        "resources: {limits: {nvidia.com/gpu: 1}}",
        "spec.containers[0].resources.limits[nvidia.com/gpu]",
    ),
    (
        "",
        "resources: {requests: {ephemeral-storage: 1Gi}}",
        "spec.containers[0].resources.requests.ephemeral-storage",
    ),
    (
        "",
        "resources: {claims: [{name: r}]}",
        "spec.containers[0].resources.claims",
    ),
    (
        "",
        "volumeMounts: [{name: v, mountPath: /v, subPath: a}]",
        "spec.containers[0].volumeMounts[0].subPath",
    ),
    (
        "",
        "volumeMounts: [{name: v, mountPath: /v, subPathExpr: a}]",
        "spec.containers[0].volumeMounts[0].subPathExpr",
    ),
    (
        "",
        "volumeMounts: [{name: v, mountPath: /v, recursiveReadOnly: Enabled}]",
        "spec.containers[0].volumeMounts[0].recursiveReadOnly",
    ),
    (
        "",
        "securityContext: {procMount: Unmasked}",
        "spec.containers[0].securityContext.procMount",
    ),
    (
        "",
        "securityContext: {seccompProfile: {type: Localhost, localhostProfile: p}}",
        "spec.containers[0].securityContext.seccompProfile.type",
    ),
    (
        "",
        "securityContext: {windowsOptions: {hostProcess: true}}",
        "spec.containers[0].securityContext.windowsOptions",
    ),
];

#[test]
fn unsupported_fields_are_errors_that_name_the_field() {
    for (spec, container, path) in FIELDS {
        let error = error(&manifest(spec, container));
        assert!(error.contains(&format!("{path}: ")), "{path}: {error}");
        assert!(
            error.contains("not supported by podhook"),
            "{path}: {error}"
        );
    }
}

#[test]
fn metadata_that_only_a_server_writes_is_unsupported() {
    for field in [
        "generateName: web-",
        "uid: u",
        "resourceVersion: \"5\"",
        "finalizers: [f]",
    ] {
        let text = manifest("", "").replace("  name: web\n", &format!("  name: web\n  {field}\n"));
        let name = field.split(':').next().unwrap();
        let error = error(&text);
        assert!(
            error.contains(&format!("metadata.{name}: not supported by podhook")),
            "{error}"
        );
    }
}

#[test]
fn every_bad_field_is_reported_at_once() {
    let error = error(&manifest(
        "priority: 5\nfoo: 1",
        "livenessProbe: {exec: {}}",
    ));
    assert_eq!(
        error,
        "error validating \"pod.yaml\": error validating data: \
         [spec.containers[0].livenessProbe: not supported by podhook, unknown field \"spec.foo\", \
         spec.priority: not supported by podhook]"
    );
}

#[test]
fn unset_fields_are_accepted_whatever_their_names() {
    // What `kubectl run --dry-run=client -o yaml` and careful tools print.
    let text = manifest(
        "initContainers: []\naffinity: {}\ntolerations: null\ndnsPolicy: ClusterFirst\n\
         restartPolicy: Always\nenableServiceLinks: true\nhostUsers: true\nautomountServiceAccountToken: false",
        "resources: {}\nlivenessProbe: null",
    );
    pod(&text.replace("  name: web\n", "  name: web\n  creationTimestamp: null\n"));
    pod(&format!("{text}status: {{}}\n"));
}
