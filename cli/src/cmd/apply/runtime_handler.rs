//! Which runtime handler a pod gets, and whether its hooks will run there.
//!
//! A hook that is silently not run is the worst that can happen, so it is refused beforehand: when
//! the handler does not start podhook's shim, and when containerd would not pass the lifecycle on.

use k8s_openapi::api::core::v1::{LifecycleHandler, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cmd::error::Error;
use crate::cri::{Handlers, RuntimeHandler};
use crate::manifest::{self, ANNOTATION_PREFIX, Cause, OWN_ANNOTATION};
use crate::store::Store;

/// The runtime handler of a pod.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// Its name; "" is the default one.
    pub(crate) name: String,
    /// Where containers of podhook stand with its cgroup driver.
    pub(crate) cgroup_parent: String,
}

/// The handler of `spec.runtimeClassName`: of a RuntimeClass applied before, else of that name.
///
/// `more` are the handlers that the user says run podhook's shim.
pub(crate) fn choose(
    store: &Store,
    more: &[String],
    handlers: &Handlers,
    pod: &Pod,
) -> Result<Chosen, Error> {
    let class = pod
        .spec
        .as_ref()
        .and_then(|s| s.runtime_class_name.clone())
        .unwrap_or_default();
    let name = store
        .runtime_class(&class)?
        .map_or_else(|| class.clone(), |c| c.handler);
    let handler = handlers.get(&name);
    if handler.is_none() && handlers.names().next().is_some() {
        return Err(no_handler(pod, &class, &name, handlers));
    }
    check_hooks(more, handlers, pod, &name)?;
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
fn check_hooks(more: &[String], handlers: &Handlers, pod: &Pod, name: &str) -> Result<(), Error> {
    let hooks = hooks(pod);
    if hooks.is_empty() {
        return Ok(());
    }
    let handler = handlers.get(name);
    let named = |handler: &str| handler.starts_with("podhook") || more.iter().any(|h| h == handler);
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
    if !named(resolved) && !handler.is_some_and(RuntimeHandler::is_podhook) {
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
        let domain = key.split('/').next().unwrap_or_default();
        return invalid(&format!(
            "containerd would not pass the hooks on: its runtime handler {resolved:?} does not let the \
             annotation {key} through; add \"{domain}/*\" to the handler's pod_annotations"
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
        .filter(|(key, _)| key.starts_with(ANNOTATION_PREFIX) || *key == OWN_ANNOTATION)
        .map(|(key, _)| (format!("metadata.annotations[{key}]"), key.clone()));
    fields.chain(annotations).collect()
}

/// Says what the shim will not know without the kubelet's container annotations.
fn warn(handler: &RuntimeHandler, name: &str, pod: &Pod) {
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::node::v1::RuntimeClass;
    use serde_json::{Value, json};

    use super::*;

    fn handlers() -> Handlers {
        let all = json!(["*", "*/*"]);
        Handlers::from_config(
            &json!({"containerd": {"defaultRuntimeName": "runc", "runtimes": {
            "runc": {"runtimeType": "io.containerd.runc.v2", "PodAnnotations": all},
            "podhook": {"runtimeType": "io.containerd.runc.v2", "PodAnnotations": all,
                        "runtimePath": "/usr/bin/containerd-shim-podhook-v1"},
            "podhook-deaf": {"runtimeType": "io.containerd.podhook.v1", "PodAnnotations": ["*"]},
            "hooks": {"runtimeType": "io.containerd.podhook.v1", "PodAnnotations": ["lifecycle.podhook.dev/*"],
                      "options": {"SystemdCgroup": true}}}}}),
        )
    }

    fn pod(class: Option<&str>, hooks: bool) -> Pod {
        let lifecycle = if hooks {
            json!({"preStop": {"sleep": {"seconds": 1}}})
        } else {
            Value::Null
        };
        serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"runtimeClassName": class,
                     "containers": [{"name": "c", "image": "nginx", "lifecycle": lifecycle}]}
        }))
        .unwrap()
    }

    fn choose(pod: &Pod, more: &[&str]) -> Result<Chosen, String> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path()).unwrap();
        let mut class = RuntimeClass {
            handler: "hooks".to_owned(),
            ..Default::default()
        };
        class.metadata.name = Some("graceful".to_owned());
        store.save_runtime_class(&class).unwrap();
        let more: Vec<String> = more.iter().map(|m| (*m).to_owned()).collect();
        super::choose(&store, &more, &handlers(), pod).map_err(|e| e.to_string())
    }

    #[test]
    fn the_class_names_the_handler_or_is_its_name() {
        assert_eq!(
            choose(&pod(Some("podhook"), true), &[]).unwrap().name,
            "podhook"
        );
        assert_eq!(
            choose(&pod(Some("graceful"), true), &[]).unwrap().name,
            "hooks"
        );
        assert_eq!(choose(&pod(None, false), &[]).unwrap().name, "");
        let error = choose(&pod(Some("kata"), false), &[]).unwrap_err();
        assert!(
            error.contains("pod rejected: RuntimeClass \"kata\" not found"),
            "{error}"
        );
        assert!(
            error.contains("only hooks, podhook, podhook-deaf, runc"),
            "{error}"
        );
    }

    #[test]
    fn hooks_need_podhooks_shim() {
        for class in [None, Some("runc")] {
            let error = choose(&pod(class, true), &[]).unwrap_err();
            assert!(
                error.contains("spec.containers[0].lifecycle: the runtime handler \"runc\""),
                "{error}"
            );
            assert!(error.contains("spec.runtimeClassName"), "{error}");
            assert!(
                choose(&pod(class, false), &[]).is_ok(),
                "without hooks any handler will do"
            );
            assert!(
                choose(&pod(class, true), &["runc"]).is_ok(),
                "the user knows"
            );
        }
    }

    #[test]
    fn a_lifecycle_that_is_an_annotation_needs_it_too() {
        let mut pod = pod(Some("runc"), false);
        let key = format!("{ANNOTATION_PREFIX}c");
        pod.metadata.annotations = Some([(key, "{}".to_owned())].into());
        let error = choose(&pod, &[]).unwrap_err();
        assert!(
            error.contains("metadata.annotations[lifecycle.podhook.dev/c]: "),
            "{error}"
        );
    }

    #[test]
    fn hooks_that_containerd_would_not_pass_on_are_refused() {
        let error = choose(&pod(Some("podhook-deaf"), true), &[]).unwrap_err();
        assert!(
            error.contains("lifecycle.podhook.dev/*\" to the handler's pod_annotations"),
            "{error}"
        );
    }

    #[test]
    fn the_annotation_for_every_container_needs_podhooks_shim_and_a_way_there() {
        let annotated = |class| {
            let mut pod = pod(Some(class), false);
            pod.metadata.annotations = Some([(OWN_ANNOTATION.to_owned(), "{}".to_owned())].into());
            choose(&pod, &[])
        };
        let error = annotated("runc").unwrap_err();
        assert!(
            error.contains("metadata.annotations[podhook.dev/lifecycle]: "),
            "{error}"
        );
        let error = annotated("hooks").unwrap_err();
        assert!(
            error.contains("add \"podhook.dev/*\" to the handler's pod_annotations"),
            "{error}"
        );
        assert!(annotated("podhook").is_ok());
    }

    #[test]
    fn the_cgroup_parent_suits_the_driver() {
        assert_eq!(
            choose(&pod(Some("hooks"), true), &[])
                .unwrap()
                .cgroup_parent,
            "podhook.slice"
        );
        assert_eq!(
            choose(&pod(Some("podhook"), true), &[])
                .unwrap()
                .cgroup_parent,
            "/podhook"
        );
    }
}
