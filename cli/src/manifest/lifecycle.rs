//! The `lifecycle` of a container as podhook's shim takes it: a pod annotation.

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use podhook_hooks::lifecycle::Ports;

use super::error::Cause;

/// The pod annotation `<prefix><container name>` carries the lifecycle of that container.
pub const ANNOTATION_PREFIX: &str = "lifecycle.podhook.dev/";

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
/// words, the rest by the shim's own parser.
pub(super) fn validate(container: &Container, path: &str, causes: &mut Vec<Cause>) {
    let Some(lifecycle) = &container.lifecycle else {
        return;
    };
    let before = causes.len();
    for (name, hook) in [
        ("postStart", &lifecycle.post_start),
        ("preStop", &lifecycle.pre_stop),
    ] {
        if let Some(hook) = hook {
            validate_hook(hook, &format!("{path}.lifecycle.{name}"), causes);
        }
    }
    if causes.len() == before
        && let Ok(value) = serde_json::to_value(lifecycle)
        && let Err(error) = podhook_hooks::lifecycle::Lifecycle::from_value(
            &value,
            &Ports::Listed(&named_ports(container)),
        )
    {
        causes.push(Cause::new(
            format!("{path}.lifecycle.{}", error.path),
            format!("Invalid value: {}", error.reason),
        ));
    }
}

/// The container's ports that have names.
fn named_ports(container: &Container) -> Vec<(String, u16)> {
    let ports = container.ports.iter().flatten();
    ports
        .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)))
        .collect()
}

fn validate_hook(hook: &LifecycleHandler, path: &str, causes: &mut Vec<Cause>) {
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
    if let Some(sleep) = &hook.sleep
        && sleep.seconds < 0
    {
        causes.push(Cause::new(
            format!("{path}.sleep.seconds"),
            format!("Invalid value: {}: must be non-negative", sleep.seconds),
        ));
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
        validate(&container, "spec.containers[0]", &mut causes);
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
