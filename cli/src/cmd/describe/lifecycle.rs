//! The hooks of a container: what they are, and what the shim has recorded of them.

use k8s_openapi::api::core::v1::{Container, Lifecycle, LifecycleHandler, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use podhook_hooks::lifecycle::HandlerKind;
use podhook_hooks::record::Record;
use podhook_hooks::sequence::HookKind;

use crate::manifest::{ANNOTATION_PREFIX, OWN_ANNOTATION};
use crate::node::page;
use crate::output::page::Page;

/// Describes the lifecycle of `container`, if it has one.
pub(crate) fn describe(page: &mut Page, pod: &Pod, container: &Container, record: Option<&Record>) {
    let annotated = annotation(pod, &container.name);
    let Some(lifecycle) = container.lifecycle.as_ref().or(annotated.as_ref()) else {
        return;
    };
    page.line(2, "Lifecycle:", "");
    for (label, kind, handler) in [
        ("PostStart:", HookKind::PostStart, &lifecycle.post_start),
        ("PreStop:", HookKind::PreStop, &lifecycle.pre_stop),
    ] {
        let Some(handler) = handler.as_ref().and_then(self::handler) else {
            continue;
        };
        page.line(3, label, handler);
        for hook in record
            .iter()
            .flat_map(|r| &r.hooks)
            .filter(|hook| hook.hook.known() == Some(kind))
        {
            page::hook(page, 4, hook);
        }
    }
    if let Some(signal) = &lifecycle.stop_signal {
        page.line(3, "Stop Signal:", signal);
    }
    let Some(record) = record else { return };
    page.line(3, "Phase:", record.phase.as_str());
    if let Some(termination) = &record.termination {
        page::termination(page, 3, termination);
    }
}

/// A lifecycle that the pod carries as annotations: the one for every container wins, field by field.
fn annotation(pod: &Pod, container: &str) -> Option<Lifecycle> {
    let annotations = pod.metadata.annotations.as_ref()?;
    let read =
        |key: &str| -> Option<Lifecycle> { serde_json::from_str(annotations.get(key)?).ok() };
    let own = read(OWN_ANNOTATION);
    let named = read(&format!("{ANNOTATION_PREFIX}{container}"));
    let (Some(own), Some(named)) = (&own, &named) else {
        return own.or(named);
    };
    let (own, named) = (own.clone(), named.clone());
    Some(Lifecycle {
        post_start: own.post_start.or(named.post_start),
        pre_stop: own.pre_stop.or(named.pre_stop),
        stop_signal: own.stop_signal.or(named.stop_signal),
    })
}

/// A handler as kubectl describes probes. None for one of no kind: no container is created with it.
fn handler(handler: &LifecycleHandler) -> Option<String> {
    let mut kinds = HandlerKind::ALL.iter();
    kinds.find_map(|kind| of_kind(*kind, handler))
}

/// The handler, if it is of that kind.
fn of_kind(kind: HandlerKind, handler: &LifecycleHandler) -> Option<String> {
    let port = |port: &IntOrString| match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    match kind {
        HandlerKind::Exec => handler.exec.as_ref().map(|exec| {
            let command = exec.command.as_deref().unwrap_or_default();
            format!("exec [{}]", command.join(" "))
        }),
        HandlerKind::HttpGet => handler.http_get.as_ref().map(|http| {
            format!(
                "http-get {}://{}:{}{}",
                http.scheme
                    .as_deref()
                    .unwrap_or("HTTP")
                    .to_ascii_lowercase(),
                http.host.as_deref().unwrap_or_default(),
                port(&http.port),
                http.path.as_deref().unwrap_or("/")
            )
        }),
        HandlerKind::TcpSocket => handler.tcp_socket.as_ref().map(|tcp| {
            let host = tcp.host.as_deref().unwrap_or_default();
            format!("tcp-socket {host}:{}", port(&tcp.port))
        }),
        HandlerKind::Sleep => {
            let sleep = handler.sleep.as_ref();
            sleep.map(|sleep| format!("sleep {}s", sleep.seconds))
        }
    }
}
