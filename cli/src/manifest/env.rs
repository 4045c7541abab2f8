//! The environment and command line of a container (kubelet `makeEnvironmentVariables`).

use std::collections::BTreeMap;

use k8s_cri::v1::KeyValue;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::expand::expand;

/// What is known only when the sandbox runs.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The pod's addresses; the first is its main one.
    pub pod_ips: Vec<String>,
    pub node_name: String,
}

const PLAIN_FIELDS: [&str; 6] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "status.podIP",
    "status.podIPs",
];

/// Whether a `fieldRef` to this path can be resolved.
pub(super) fn is_supported(field_path: &str) -> bool {
    PLAIN_FIELDS.contains(&field_path) || subscript(field_path).is_some()
}

/// The variables of a container: each name once, the last one wins, references to earlier ones
/// expanded.
pub(super) fn environment(
    pod: &Pod,
    uid: &str,
    container: &Container,
    facts: &Facts,
) -> Vec<KeyValue> {
    let mut variables: Vec<KeyValue> = Vec::new();
    for variable in container.env.iter().flatten() {
        let field = variable
            .value_from
            .as_ref()
            .and_then(|s| s.field_ref.as_ref());
        let value = match field {
            Some(field) => resolve(pod, uid, &field.field_path, facts),
            None => expand(variable.value.as_deref().unwrap_or_default(), |n| {
                lookup(&variables, n)
            }),
        };
        variables.retain(|v| v.key != variable.name);
        variables.push(KeyValue {
            key: variable.name.clone(),
            value,
        });
    }
    variables
}

/// A command or argument list with `$(VAR)` expanded.
pub(super) fn arguments(list: Option<&Vec<String>>, variables: &[KeyValue]) -> Vec<String> {
    list.into_iter()
        .flatten()
        .map(|text| expand(text, |name| lookup(variables, name)))
        .collect()
}

fn lookup(variables: &[KeyValue], name: &str) -> Option<String> {
    variables
        .iter()
        .find(|v| v.key == name)
        .map(|v| v.value.clone())
}

fn resolve(pod: &Pod, uid: &str, field_path: &str, facts: &Facts) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let entry = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref()
            .and_then(|m| m.get(key))
            .cloned()
            .unwrap_or_default()
    };
    match field_path {
        "metadata.name" => text(&pod.metadata.name),
        "metadata.namespace" => text(&pod.metadata.namespace),
        "metadata.uid" => uid.to_owned(),
        "spec.nodeName" => facts.node_name.clone(),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => match subscript(field_path) {
            Some(("metadata.labels", key)) => entry(&pod.metadata.labels, key),
            Some((_, key)) => entry(&pod.metadata.annotations, key),
            // Validation lets nothing else through.
            None => String::new(),
        },
    }
}

/// `metadata.labels['app']` → (`metadata.labels`, `app`).
fn subscript(field_path: &str) -> Option<(&str, &str)> {
    let (map, rest) = field_path.split_once("['")?;
    let key = rest.strip_suffix("']")?;
    ["metadata.labels", "metadata.annotations"]
        .contains(&map)
        .then_some((map, key))
}
