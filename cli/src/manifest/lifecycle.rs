//! The `lifecycle` of a container as podhook's shim takes it: a pod annotation.

#![allow(
    clippy::indexing_slicing,
    reason = "read of a Value: what is not there is null"
)]

use k8s_openapi::api::core::v1::{Container, ContainerPort, LifecycleHandler, Pod};
use podhook_hooks::lifecycle::{Lifecycle, Policy, Ports};
use serde_json::{Value, json};

use super::error::{Cause, Error};
use super::fields;
use super::judgement::{self, Annotations};
use super::labels;
use super::schema::{self, SchemaError};

/// The pod annotation `<prefix><container name>` carries the lifecycle of that container.
pub const ANNOTATION_PREFIX: &str = podhook_hooks::lifecycle::POD_ANNOTATION_PREFIX;
/// The annotation that is live in every container of the pod.
pub const OWN_ANNOTATION: &str = podhook_hooks::lifecycle::OWN_ANNOTATION;

/// The annotation of a container that has a lifecycle: key and value (the Kubernetes object as
/// compact JSON).
#[must_use]
pub fn annotation(container: &Container) -> Option<(String, String)> {
    let lifecycle = container.lifecycle.as_ref()?;
    if lifecycle.post_start.is_none()
        && lifecycle.pre_stop.is_none()
        && lifecycle.stop_signal.is_none()
    {
        return None;
    }
    let json = serde_json::to_string(lifecycle).ok()?;
    Some((format!("{ANNOTATION_PREFIX}{}", container.name), json))
}

/// Checks what the shim would refuse only after the sandbox runs: what the API server would say in its
/// words, the rest by the shim's own parser. `grace` is the pod's grace period, where that is known.
pub(super) fn validate(
    container: &Container,
    path: &str,
    grace: Option<i64>,
    causes: &mut Vec<Cause>,
) {
    let Some(lifecycle) = &container.lifecycle else {
        return;
    };
    let before = causes.len();
    for (name, hook) in [
        ("postStart", &lifecycle.post_start),
        ("preStop", &lifecycle.pre_stop),
    ] {
        if let Some(hook) = hook {
            validate_hook(hook, &format!("{path}.lifecycle.{name}"), grace, causes);
        }
    }
    if causes.len() == before
        && let Ok(value) = serde_json::to_value(lifecycle)
    {
        check(&value, container, path, causes);
    }
}

fn check(
    value: &Value,
    container: &Container,
    path: &str,
    causes: &mut Vec<Cause>,
) -> Option<Lifecycle> {
    let ports = named_ports(container);
    match Lifecycle::from_value(value, &Ports::Listed(&ports)) {
        Ok(lifecycle) => Some(lifecycle),
        Err(error) => {
            let field = [&format!("{path}.lifecycle"), &error.path];
            causes.push(Cause::new(
                field.map(String::as_str).join(".").trim_end_matches('.'),
                format!("Invalid value: {}", error.reason),
            ));
            None
        }
    }
}

/// Checks the pod's annotations as Create will, for every container.
pub(super) fn validate_annotations(pod: &Pod, causes: &mut Vec<Cause>) {
    let none = Annotations::new();
    let annotations = pod.metadata.annotations.as_ref().unwrap_or(&none);
    let mut refused = Vec::new();
    for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
        let ports = labels::ports(container);
        let said = judgement::create(
            &Policy::default(),
            annotations,
            &container.name,
            ports.as_deref(),
        );
        if let Err(refusal) = said {
            let cause = Cause::new(
                format!("metadata.annotations[{}]", refusal.key),
                format!("Invalid value: {}", refusal.reason),
            );
            // One that is live in every container is wrong in every container.
            if !refused.contains(&cause) {
                refused.push(cause);
            }
        }
    }
    causes.extend(refused);
}

/// What is said of a container's lifecycle in a pod's spec, `path` being the container's: the fields of Kubernetes'
/// own schema, then what the API server and the shim would refuse, with the pod's grace period, where that is known. None where
/// nothing is said.
///
/// # Errors
/// All that is wrong, each as `podhook apply` says it.
pub fn in_spec(
    container: &Value,
    path: &str,
    grace: Option<i64>,
) -> Result<Option<Lifecycle>, Vec<Fault>> {
    let lifecycle = &container["lifecycle"];
    if lifecycle.is_null() {
        return Ok(None);
    }
    let mut errors = Vec::new();
    let field = format!("{path}.lifecycle");
    schema::check(lifecycle, &fields::LIFECYCLE, &field, &mut errors);
    if !errors.is_empty() {
        return Err(errors.into_iter().map(Fault::Schema).collect());
    }
    let mut causes = Vec::new();
    let typed = typed(container).map_err(|error| vec![Fault::Schema(error.below(path))])?;
    validate(&typed, path, grace, &mut causes);
    let mut said = None;
    if causes.is_empty() {
        // With the timeouts, which the type does not have.
        said = check(lifecycle, &typed, path, &mut causes);
    }
    if causes.is_empty() {
        return Ok(said.filter(|lifecycle| !lifecycle.is_empty()));
    }
    Err(causes.into_iter().map(Fault::Cause).collect())
}

/// What is wrong with a lifecycle in a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its form.
    #[error(transparent)]
    Schema(SchemaError),
    /// What it says.
    #[error("{0}")]
    Cause(Cause),
}

impl Fault {
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Schema(error) => error.path(),
            Self::Cause(cause) => &cause.path,
        }
    }

    /// Without the path.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Schema(error) => error.reason(),
            Self::Cause(cause) => cause.message.clone(),
        }
    }

    /// Whether it is a field that Kubernetes does not have.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Schema(SchemaError::Unknown { .. }))
    }
}

/// Of a container what its lifecycle is judged by.
fn typed(container: &Value) -> Result<Container, SchemaError> {
    let value = json!({
        "name": container["name"].as_str().unwrap_or_default(),
        "ports": ports(&container["ports"]),
        "lifecycle": container["lifecycle"],
    });
    serde_path_to_error::deserialize(&value).map_err(SchemaError::from)
}

/// The ports as far as a hook may name them: what else is wrong with one is no fault of the lifecycle.
fn ports(ports: &Value) -> Vec<Value> {
    let port = |port: &Value| {
        if serde_json::from_value::<ContainerPort>(port.clone()).is_ok() {
            return port.clone();
        }
        json!({"name": port["name"].as_str(), "containerPort": 1})
    };
    ports.as_array().into_iter().flatten().map(port).collect()
}

/// The same, for [`overlap`].
#[must_use]
pub fn overlap_in_spec(container: &Value, path: &str, annotations: &Annotations) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Ok(container) = typed(container) {
        overlap(&container, path, annotations, &mut causes);
    }
    causes
}

/// Where an annotation sets what a container's own `lifecycle` sets, which would not run: that for the container, or
/// that for every one.
fn overlap(container: &Container, path: &str, annotations: &Annotations, causes: &mut Vec<Cause>) {
    if let Some((key, _)) = annotation(container)
        && annotations.contains_key(&key)
    {
        causes.push(Cause::new(
            format!("{path}.lifecycle"),
            format!(
                "Forbidden: metadata.annotations[{key}] sets the lifecycle of this container too"
            ),
        ));
    }
    let own = annotations
        .get(OWN_ANNOTATION)
        .and_then(|value| serde_json::from_str::<Value>(value).ok())
        .unwrap_or_default();
    let Some(lifecycle) = &container.lifecycle else {
        return;
    };
    let fields = [
        ("postStart", lifecycle.post_start.is_some()),
        ("preStop", lifecycle.pre_stop.is_some()),
        ("stopSignal", lifecycle.stop_signal.is_some()),
    ];
    for (field, _) in fields
        .iter()
        .filter(|(field, set)| *set && !own[field].is_null())
    {
        causes.push(Cause::new(
            format!("{path}.lifecycle.{field}"),
            format!(
                "Forbidden: metadata.annotations[{OWN_ANNOTATION}] sets it for every container"
            ),
        ));
    }
}

/// [`overlap`], for every container.
pub(super) fn validate_overlap(pod: &Pod, causes: &mut Vec<Cause>) {
    let Some(annotations) = &pod.metadata.annotations else {
        return;
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    for (i, container) in containers.enumerate() {
        overlap(
            container,
            &format!("spec.containers[{i}]"),
            annotations,
            causes,
        );
    }
}

/// What of the pod's annotations will have no effect, for a warning.
#[must_use]
pub fn doubts(pod: &Pod) -> Vec<String> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let names: Vec<&str> = containers.map(|c| c.name.as_str()).collect();
    let keys = pod.metadata.annotations.iter().flat_map(|all| all.keys());
    judgement::without_effect(keys, &names)
        .into_iter()
        .map(|(key, reason)| format!("annotation {key}: {reason}"))
        .collect()
}

/// `exec.timeoutSeconds` (KEP-4929) is in no type of this Kubernetes yet: a lifecycle with one becomes the pod's
/// annotation at once, as it was written.
pub(super) fn keep_timeouts(document: &Value, pod: &mut Pod) -> Result<(), Error> {
    let mut causes = Vec::new();
    let annotations = pod.metadata.annotations.get_or_insert_default();
    let containers = pod.spec.iter_mut().flat_map(|spec| &mut spec.containers);
    for (i, container) in containers.enumerate() {
        let value = &document["spec"]["containers"][i]["lifecycle"];
        let timed = |hook: &str| !value[hook]["exec"]["timeoutSeconds"].is_null();
        if !timed("postStart") && !timed("preStop") {
            continue;
        }
        check(
            value,
            container,
            &format!("spec.containers[{i}]"),
            &mut causes,
        );
        let key = format!("{ANNOTATION_PREFIX}{}", container.name);
        annotations.insert(key, value.to_string());
        container.lifecycle = None;
    }
    if annotations.is_empty() {
        pod.metadata.annotations = None;
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(Error::Invalid {
        kind: "Pod",
        name: pod.metadata.name.clone().unwrap_or_default(),
        causes,
    })
}

/// The container's ports that have names.
fn named_ports(container: &Container) -> Vec<(String, u16)> {
    let ports = container.ports.iter().flatten();
    ports
        .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)))
        .collect()
}

fn validate_hook(hook: &LifecycleHandler, path: &str, grace: Option<i64>, causes: &mut Vec<Cause>) {
    let handlers = [
        hook.exec.is_some(),
        hook.http_get.is_some(),
        hook.tcp_socket.is_some(),
        hook.sleep.is_some(),
    ];
    match handlers.iter().filter(|set| **set).count() {
        1 => {}
        0 => causes.push(Cause::new(
            path,
            "Required value: must specify a handler type",
        )),
        _ => causes.push(Cause::new(
            path,
            "Forbidden: may not specify more than 1 handler type",
        )),
    }
    if let Some(exec) = &hook.exec
        && exec.command.as_ref().is_none_or(Vec::is_empty)
    {
        causes.push(Cause::new(format!("{path}.exec.command"), "Required value"));
    }
    match (&hook.sleep, grace) {
        (Some(sleep), _) if sleep.seconds < 0 => causes.push(Cause::new(
            format!("{path}.sleep.seconds"),
            format!("Invalid value: {}: must be non-negative", sleep.seconds),
        )),
        // Of a grace period below 0 that is said.
        (Some(sleep), Some(grace @ 0..)) if sleep.seconds > grace => causes.push(Cause::new(
            format!("{path}.sleep"),
            format!(
                "Invalid value: {}: must be non-negative and less than terminationGracePeriodSeconds ({grace})",
                sleep.seconds
            ),
        )),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(lifecycle: &str) -> Vec<String> {
        let container: Container = serde_json::from_str(&format!(
            r#"{{"name":"c","ports":[{{"name":"http","containerPort":80}}],"lifecycle":{lifecycle}}}"#
        ))
        .unwrap();
        let mut causes = Vec::new();
        validate(&container, "spec.containers[0]", None, &mut causes);
        causes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_shim_would_refuse_is_refused_with_its_field() {
        assert!(causes(r#"{"preStop":{"httpGet":{"port":"http"}}}"#).is_empty());
        let unknown = causes(r#"{"preStop":{"httpGet":{"port":"metrics"}}}"#);
        assert_eq!(unknown.len(), 1, "{unknown:?}");
        assert!(
            unknown[0].contains("spec.containers[0].lifecycle.preStop.httpGet.port"),
            "{unknown:?}"
        );
        let header = causes(
            r#"{"preStop":{"httpGet":{"port":80,"httpHeaders":[{"name":"a b","value":"c"}]}}}"#,
        );
        assert!(header[0].contains("httpHeaders[0].name"), "{header:?}");
        assert!(causes(r#"{"preStop":{}}"#)[0].contains("must specify a handler type"));
    }
}
