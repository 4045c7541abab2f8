//! The `lifecycle` of a container as podhook's shim takes it: a pod annotation.

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

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

/// Checks what the shim would refuse only after the sandbox runs. The shim validates in full.
pub(super) fn validate(container: &Container, path: &str, causes: &mut Vec<Cause>) {
    let Some(lifecycle) = &container.lifecycle else {
        return;
    };
    for (name, hook) in [
        ("postStart", &lifecycle.post_start),
        ("preStop", &lifecycle.pre_stop),
    ] {
        if let Some(hook) = hook {
            validate_hook(hook, &format!("{path}.lifecycle.{name}"), causes);
        }
    }
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
