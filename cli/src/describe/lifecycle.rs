//! The hooks of a container: what they are, and what the shim has recorded of them.

use k8s_openapi::api::core::v1::{Container, Lifecycle, LifecycleHandler, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use super::page::Page;
use crate::hooks::{Hook, Record, Termination};
use crate::manifest::ANNOTATION_PREFIX;

/// Describes the lifecycle of `container`, if it has one.
pub(super) fn describe(page: &mut Page, pod: &Pod, container: &Container, record: Option<&Record>) {
    let annotated = annotation(pod, &container.name);
    let Some(lifecycle) = container.lifecycle.as_ref().or(annotated.as_ref()) else {
        return;
    };
    page.line(2, "Lifecycle:", "");
    for (label, name, handler) in [
        ("PostStart:", "postStart", &lifecycle.post_start),
        ("PreStop:", "preStop", &lifecycle.pre_stop),
    ] {
        let Some(handler) = handler else { continue };
        page.line(3, label, self::handler(handler));
        for hook in record
            .iter()
            .flat_map(|r| &r.hooks)
            .filter(|h| h.hook == name)
        {
            self::hook(page, hook);
        }
    }
    if let Some(signal) = &lifecycle.stop_signal {
        page.line(3, "Stop Signal:", signal);
    }
    let Some(record) = record else { return };
    page.line(3, "Phase:", &record.phase);
    if let Some(termination) = &record.termination {
        self::termination(page, termination);
    }
}

/// A lifecycle that the pod carries as an annotation.
fn annotation(pod: &Pod, container: &str) -> Option<Lifecycle> {
    let annotations = pod.metadata.annotations.as_ref()?;
    let json = annotations.get(&format!("{ANNOTATION_PREFIX}{container}"))?;
    serde_json::from_str(json).ok()
}

/// A handler as kubectl describes probes.
fn handler(handler: &LifecycleHandler) -> String {
    let port = |port: &IntOrString| match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    if let Some(exec) = &handler.exec {
        format!(
            "exec [{}]",
            exec.command.as_deref().unwrap_or_default().join(" ")
        )
    } else if let Some(http) = &handler.http_get {
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
    } else if let Some(tcp) = &handler.tcp_socket {
        format!(
            "tcp-socket {}:{}",
            tcp.host.as_deref().unwrap_or_default(),
            port(&tcp.port)
        )
    } else if let Some(sleep) = &handler.sleep {
        format!("sleep {}s", sleep.seconds)
    } else {
        "unknown".to_owned()
    }
}

fn hook(page: &mut Page, hook: &Hook) {
    page.line(4, "Result:", result(hook));
    time(page, "Started:", hook.started_at);
    time(page, "Finished:", hook.finished_at);
    if let Some(milliseconds) = hook.duration_ms {
        page.line(4, "Duration:", format!("{milliseconds:.1}ms"));
    }
    if let (Some(user), Some(system)) = (hook.cpu_user_usec, hook.cpu_system_usec) {
        page.line(4, "CPU Time:", format!("{user}us user, {system}us system"));
    }
    if let Some(bytes) = hook.memory_peak_bytes {
        page.line(4, "Peak Memory:", format!("{}Ki", bytes.div_ceil(1024)));
    }
    let output = hook.output.as_deref().unwrap_or_default().trim_end();
    if !output.is_empty() {
        page.list(4, "Output:", output.lines().map(str::to_owned));
    }
}

fn result(hook: &Hook) -> String {
    let Some(result) = &hook.result else {
        return "running".to_owned();
    };
    let detail = match (&hook.message, hook.exit_code, hook.http_status) {
        (Some(message), _, _) => format!(" ({message})"),
        (None, Some(code), _) => format!(" (exit code {code})"),
        (None, None, Some(status)) => format!(" (HTTP status {status})"),
        (None, None, None) => String::new(),
    };
    format!("{result}{detail}")
}

fn termination(page: &mut Page, termination: &Termination) {
    page.line(
        3,
        "Termination:",
        termination.signal.clone().unwrap_or_default(),
    );
    if let Some(seconds) = termination.grace_period_seconds {
        page.line(4, "Grace Period:", format!("{seconds}s"));
    }
    time(page, "Requested:", termination.requested_at);
    time(page, "Signalled:", termination.signalled_at);
    time(page, "Killed:", termination.killed_at);
    time(page, "Exited:", termination.exited_at);
    if let Some(status) = termination.exit_status {
        page.line(4, "Exit Status:", status.to_string());
    }
}

/// To the millisecond: hooks are short.
fn time(page: &mut Page, label: &str, time: Option<Timestamp>) {
    if let Some(time) = time {
        page.line(
            4,
            label,
            time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        );
    }
}
