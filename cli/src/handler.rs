//! Which runtime handler a pod gets, and whether its hooks will run there.
//!
//! A hook that is silently not run is the worst that can happen, so it is refused beforehand: when
//! the handler does not start podhook's shim, and when containerd would not pass the lifecycle on.

use k8s_openapi::api::core::v1::{LifecycleHandler, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::context::Context;
use crate::cri::{Handler, Handlers};
use crate::error::Error;
use crate::manifest::{self, ANNOTATION_PREFIX, Cause};

/// The runtime handler of a pod.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// Its name; "" is the default one.
    pub(crate) name: String,
    /// Where containers of podhook stand with its cgroup driver.
    pub(crate) cgroup_parent: String,
}

/// The handler of `spec.runtimeClassName`: of a RuntimeClass applied before, else of that name.
pub(crate) fn choose(context: &Context, handlers: &Handlers, pod: &Pod) -> Result<Chosen, Error> {
    let class = pod
        .spec
        .as_ref()
        .and_then(|s| s.runtime_class_name.clone())
        .unwrap_or_default();
    let name = context
        .store
        .runtime_class(&class)?
        .map_or_else(|| class.clone(), |c| c.handler);
    let handler = handlers.get(&name);
    if handler.is_none() && handlers.names().next().is_some() {
        return Err(no_handler(pod, &class, &name, handlers));
    }
    check_hooks(context, handlers, pod, &name)?;
    let systemd = handler.is_some_and(|h| h.systemd_cgroup);
    let cgroup_parent = if systemd { "podhook.slice" } else { "/podhook" }.to_owned();
    Ok(Chosen {
        name,
        cgroup_parent,
    })
}

fn no_handler(pod: &Pod, class: &str, name: &str, handlers: &Handlers) -> Error {
    let known: Vec<&str> = handlers.names().collect();
    Error::Server {
        code: "Forbidden",
        message: format!(
            "pods {:?} is forbidden: pod rejected: RuntimeClass {class:?} not found: containerd has no \
             runtime handler {name:?}, only {}",
            pod.metadata.name.clone().unwrap_or_default(),
            known.join(", ")
        ),
    }
}

/// Refuses a pod whose hooks would not run.
fn check_hooks(context: &Context, handlers: &Handlers, pod: &Pod, name: &str) -> Result<(), Error> {
    let hooks = hooks(pod);
    if hooks.is_empty() {
        return Ok(());
    }
    let handler = handlers.get(name);
    let named = |handler: &str| {
        handler.starts_with("podhook")
            || context.global.podhook_handler.iter().any(|h| h == handler)
    };
    let resolved = if name.is_empty() {
        handlers.default_name()
    } else {
        name
    };
    let invalid = |message: &str| {
        let causes = hooks
            .iter()
            .map(|(path, _)| Cause {
                path: path.clone(),
                message: message.to_owned(),
            })
            .collect();
        let name = pod.metadata.name.clone().unwrap_or_default();
        Err(manifest::Error::Invalid {
            kind: "Pod",
            name,
            causes,
        }
        .into())
    };
    if !named(resolved) && !handler.is_some_and(Handler::is_podhook) {
        return invalid(&format!(
            "the runtime handler {resolved:?} (spec.runtimeClassName) does not run lifecycle hooks; set \
             spec.runtimeClassName: podhook, or name the handler with --podhook-handler"
        ));
    }
    let Some(handler) = handler else {
        return Ok(());
    };
    if let Some((_, key)) = hooks
        .iter()
        .find(|(_, key)| !handler.passes_pod_annotation(key))
    {
        return invalid(&format!(
            "containerd would not pass the hooks on: its runtime handler {resolved:?} does not let the \
             annotation {key} through; add \"{ANNOTATION_PREFIX}*\" to the handler's pod_annotations"
        ));
    }
    warn(handler, resolved, pod);
    Ok(())
}

/// Path and annotation key of every lifecycle of the pod.
fn hooks(pod: &Pod) -> Vec<(String, String)> {
    let fields = pod
        .spec
        .iter()
        .flat_map(|s| s.containers.iter().enumerate())
        .filter_map(|(i, c)| {
            let (key, _) = manifest::lifecycle_annotation(c)?;
            Some((format!("spec.containers[{i}].lifecycle"), key))
        });
    let annotations = pod.metadata.annotations.iter().flatten();
    let annotations = annotations
        .filter(|(key, _)| key.starts_with(ANNOTATION_PREFIX))
        .map(|(key, _)| (format!("metadata.annotations[{key}]"), key.clone()));
    fields.chain(annotations).collect()
}

/// Says what the shim will not know without the kubelet's container annotations.
fn warn(handler: &Handler, name: &str, pod: &Pod) {
    let spec = pod.spec.clone().unwrap_or_default();
    let grace = spec
        .termination_grace_period_seconds
        .unwrap_or(manifest::GRACE_PERIOD_SECONDS);
    if grace != manifest::GRACE_PERIOD_SECONDS
        && !handler.passes_container_annotation(manifest::GRACE_PERIOD)
    {
        eprintln!(
            "Warning: containerd's runtime handler {name:?} does not pass {} on (container_annotations): \
             preStop hooks get {}s, not {grace}s",
            manifest::GRACE_PERIOD,
            manifest::GRACE_PERIOD_SECONDS
        );
    }
    let named_port = |hook: &LifecycleHandler| {
        let ports = [
            hook.http_get.as_ref().map(|h| &h.port),
            hook.tcp_socket.as_ref().map(|t| &t.port),
        ];
        ports
            .into_iter()
            .flatten()
            .any(|port| matches!(port, IntOrString::String(_)))
    };
    let mut hooks = spec
        .containers
        .iter()
        .filter_map(|c| c.lifecycle.as_ref())
        .flat_map(|l| [&l.post_start, &l.pre_stop])
        .flatten();
    if hooks.any(named_port) && !handler.passes_container_annotation(manifest::PORTS) {
        eprintln!(
            "Warning: containerd's runtime handler {name:?} does not pass {} on (container_annotations): \
             named ports of hooks cannot be resolved",
            manifest::PORTS
        );
    }
}
