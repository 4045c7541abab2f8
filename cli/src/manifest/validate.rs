//! What the API server would refuse, as far as podhook acts on it
//! (`pkg/apis/core/validation/validation.go`).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec, Volume};
use k8s_openapi::api::node::v1::RuntimeClass;

use super::defaults::GRACE_PERIOD_SECONDS;
use super::error::{Cause, Error};
use super::lifecycle;
use super::quantity::Quantity;

const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
     and must start and end with an alphanumeric character";
const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
     '-' or '.', and must start and end with an alphanumeric character";

pub(super) fn runtime_class(class: &RuntimeClass) -> Result<(), Error> {
    let mut causes = Vec::new();
    let name = class.metadata.name.clone().unwrap_or_default();
    subdomain(&name, "metadata.name", &mut causes);
    label(&class.handler, "handler", &mut causes);
    done("RuntimeClass", name, causes)
}

pub(super) fn pod(pod: &Pod) -> Result<(), Error> {
    let mut causes = Vec::new();
    let name = pod.metadata.name.clone().unwrap_or_default();
    subdomain(&name, "metadata.name", &mut causes);
    if let Some(namespace) = &pod.metadata.namespace {
        label(namespace, "metadata.namespace", &mut causes);
    }
    match &pod.spec {
        None => causes.push(Cause::new("spec", "Required value")),
        Some(spec) => {
            self::spec(spec, &mut causes);
            lifecycle::validate_overlap(pod, &mut causes);
            lifecycle::validate_annotations(pod, &mut causes);
        }
    }
    done("Pod", name, causes)
}

fn done(kind: &'static str, name: String, causes: Vec<Cause>) -> Result<(), Error> {
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid { kind, name, causes })
    }
}

fn spec(spec: &PodSpec, causes: &mut Vec<Cause>) {
    if spec.containers.is_empty() {
        causes.push(Cause::new("spec.containers", "Required value"));
    }
    if spec.termination_grace_period_seconds.is_some_and(|s| s < 0) {
        causes.push(Cause::new(
            "spec.terminationGracePeriodSeconds",
            "Invalid value: must be non-negative",
        ));
    }
    if let Some(hostname) = &spec.hostname {
        label(hostname, "spec.hostname", causes);
    }
    if spec.host_pid == Some(true) && spec.share_process_namespace == Some(true) {
        causes.push(Cause::new(
            "spec.shareProcessNamespace",
            "Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
    let no_servers = spec
        .dns_config
        .as_ref()
        .is_none_or(|c| c.nameservers.as_ref().is_none_or(Vec::is_empty));
    if spec.dns_policy.as_deref() == Some("None") && no_servers {
        causes.push(Cause::new(
            "spec.dnsConfig.nameservers",
            "Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
        ));
    }
    let volumes = volumes(spec.volumes.as_deref().unwrap_or_default(), causes);
    let mut names = BTreeSet::new();
    for (i, container) in spec.containers.iter().enumerate() {
        let path = format!("spec.containers[{i}]");
        label(&container.name, &format!("{path}.name"), causes);
        if !names.insert(container.name.as_str()) {
            causes.push(Cause::new(
                format!("{path}.name"),
                format!("Duplicate value: {:?}", container.name),
            ));
        }
        self::container(container, &path, &volumes, causes);
        let grace = spec.termination_grace_period_seconds;
        let grace = grace.unwrap_or(GRACE_PERIOD_SECONDS);
        lifecycle::validate(container, &path, Some(grace), causes);
    }
}

fn volumes<'a>(volumes: &'a [Volume], causes: &mut Vec<Cause>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (i, volume) in volumes.iter().enumerate() {
        let path = format!("spec.volumes[{i}]");
        label(&volume.name, &format!("{path}.name"), causes);
        if !names.insert(volume.name.as_str()) {
            causes.push(Cause::new(
                format!("{path}.name"),
                format!("Duplicate value: {:?}", volume.name),
            ));
        }
        match (&volume.host_path, &volume.empty_dir) {
            (None, None) => causes.push(Cause::new(
                &path,
                "Required value: must specify a volume type",
            )),
            (Some(_), Some(_)) => causes.push(Cause::new(
                format!("{path}.hostPath"),
                "Forbidden: may not specify more than 1 volume type",
            )),
            (Some(host), None) => host_path(&host.path, &path, causes),
            (None, Some(empty)) => {
                if let Some(limit) = &empty.size_limit {
                    let path = format!("{path}.emptyDir.sizeLimit");
                    if empty.medium.as_deref() != Some("Memory") {
                        causes.push(Cause::new(
                            &path,
                            "not supported by podhook unless the medium is Memory",
                        ));
                    }
                    quantity(&limit.0, &path, causes);
                }
            }
        }
    }
    names
}

fn host_path(host: &str, path: &str, causes: &mut Vec<Cause>) {
    let path = format!("{path}.hostPath.path");
    if host.is_empty() {
        causes.push(Cause::new(path, "Required value"));
    } else if host.split('/').any(|part| part == "..") {
        causes.push(Cause::new(
            path,
            format!("Invalid value: {host:?}: must not contain '..'"),
        ));
    } else if !host.starts_with('/') {
        causes.push(Cause::new(
            path,
            format!("Invalid value: {host:?}: must be an absolute path"),
        ));
    }
}

fn container(container: &Container, path: &str, volumes: &BTreeSet<&str>, causes: &mut Vec<Cause>) {
    match container.image.as_deref() {
        None | Some("") => causes.push(Cause::new(format!("{path}.image"), "Required value")),
        Some(image) if image.trim() != image => causes.push(Cause::new(
            format!("{path}.image"),
            format!("Invalid value: {image:?}: must not have leading or trailing whitespace"),
        )),
        Some(_) => {}
    }
    for (i, env) in container.env.iter().flatten().enumerate() {
        self::env(env, &format!("{path}.env[{i}]"), causes);
    }
    ports(container, path, causes);
    mounts(container, path, volumes, causes);
    resources(container, path, causes);
    if let Some(security) = &container.security_context
        && security.allow_privilege_escalation == Some(false)
        && security.privileged == Some(true)
    {
        causes.push(Cause::new(
            format!("{path}.securityContext"),
            "Invalid value: cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ));
    }
}

fn env(env: &EnvVar, path: &str, causes: &mut Vec<Cause>) {
    if env.name.is_empty() {
        causes.push(Cause::new(format!("{path}.name"), "Required value"));
    } else if env.name.contains(['=', '\0']) {
        causes.push(Cause::new(
            format!("{path}.name"),
            format!("Invalid value: {:?}: must not contain '='", env.name),
        ));
    }
    let Some(source) = &env.value_from else {
        return;
    };
    if env.value.as_ref().is_some_and(|v| !v.is_empty()) {
        causes.push(Cause::new(
            format!("{path}.valueFrom"),
            "Invalid value: may not be specified when `value` is not empty",
        ));
    }
    match &source.field_ref {
        None => causes.push(Cause::new(
            format!("{path}.valueFrom"),
            "Invalid value: must specify one of: `fieldRef`",
        )),
        Some(field) if !super::env::is_supported(&field.field_path) => causes.push(Cause::new(
            format!("{path}.valueFrom.fieldRef.fieldPath"),
            format!("{:?} is not supported by podhook", field.field_path),
        )),
        Some(_) => {}
    }
}

fn ports(container: &Container, path: &str, causes: &mut Vec<Cause>) {
    let mut names = BTreeSet::new();
    for (i, port) in container.ports.iter().flatten().enumerate() {
        let path = format!("{path}.ports[{i}]");
        for (field, value) in [
            ("containerPort", Some(port.container_port)),
            ("hostPort", port.host_port),
        ] {
            if value.is_some_and(|v| !(1..=65535).contains(&v)) {
                causes.push(Cause::new(
                    format!("{path}.{field}"),
                    format!(
                        "Invalid value: {}: must be between 1 and 65535, inclusive",
                        value.unwrap_or(0)
                    ),
                ));
            }
        }
        if let Some(name) = &port.name
            && !names.insert(name)
        {
            causes.push(Cause::new(
                format!("{path}.name"),
                format!("Duplicate value: {name:?}"),
            ));
        }
    }
}

fn mounts(container: &Container, path: &str, volumes: &BTreeSet<&str>, causes: &mut Vec<Cause>) {
    let privileged = container
        .security_context
        .as_ref()
        .and_then(|s| s.privileged)
        == Some(true);
    let mut paths = BTreeSet::new();
    for (i, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = format!("{path}.volumeMounts[{i}]");
        if !volumes.contains(mount.name.as_str()) {
            causes.push(Cause::new(
                format!("{path}.name"),
                format!("Not found: {:?}", mount.name),
            ));
        }
        if mount.mount_path.is_empty() {
            causes.push(Cause::new(format!("{path}.mountPath"), "Required value"));
        }
        if !paths.insert(mount.mount_path.as_str()) {
            causes.push(Cause::new(
                format!("{path}.mountPath"),
                format!("Invalid value: {:?}: must be unique", mount.mount_path),
            ));
        }
        if mount.mount_propagation.as_deref() == Some("Bidirectional") && !privileged {
            causes.push(Cause::new(
                format!("{path}.mountPropagation"),
                "Forbidden: Bidirectional mount propagation is available only to privileged containers",
            ));
        }
    }
}

fn resources(container: &Container, path: &str, causes: &mut Vec<Cause>) {
    let Some(resources) = &container.resources else {
        return;
    };
    for (list, quantities) in [
        ("limits", &resources.limits),
        ("requests", &resources.requests),
    ] {
        for (name, value) in quantities.iter().flatten() {
            quantity(&value.0, &format!("{path}.resources.{list}.{name}"), causes);
        }
    }
    for (name, request) in resources.requests.iter().flatten() {
        let limit = resources.limits.as_ref().and_then(|l| l.get(name));
        let parsed = |q: &str| q.parse::<Quantity>().ok();
        if let (Some(r), Some(l)) = (parsed(&request.0), limit.and_then(|l| parsed(&l.0)))
            && r > l
        {
            causes.push(Cause::new(
                format!("{path}.resources.requests"),
                format!(
                    "Invalid value: {:?}: must be less than or equal to {name} limit of {}",
                    request.0,
                    limit.map(|l| l.0.as_str()).unwrap_or_default()
                ),
            ));
        }
    }
}

fn quantity(text: &str, path: &str, causes: &mut Vec<Cause>) {
    match text.parse::<Quantity>() {
        Err(e) => causes.push(Cause::new(path, format!("Invalid value: {text:?}: {e}"))),
        Ok(q) if q.milli() < 0 => causes.push(Cause::new(
            path,
            format!("Invalid value: {text:?}: must be greater than or equal to 0"),
        )),
        Ok(_) => {}
    }
}

/// What is wrong with a container's name.
pub(crate) fn name_of_container(name: &str, path: &str) -> Option<Cause> {
    let mut causes = Vec::new();
    label(name, path, &mut causes);
    causes.pop()
}

fn label(name: &str, path: &str, causes: &mut Vec<Cause>) {
    if name.is_empty() {
        causes.push(Cause::new(path, "Required value"));
    } else if name.len() > 63 || !is_label(name) {
        causes.push(Cause::new(
            path,
            format!("Invalid value: {name:?}: {LABEL_RULE}"),
        ));
    }
}

fn subdomain(name: &str, path: &str, causes: &mut Vec<Cause>) {
    if name.is_empty() {
        causes.push(Cause::new(
            path,
            "Required value: name or generateName is required",
        ));
    } else if !is_subdomain(name) {
        causes.push(Cause::new(
            path,
            format!("Invalid value: {name:?}: {SUBDOMAIN_RULE}"),
        ));
    }
}

/// Whether an object may have this name.
pub(crate) fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}
