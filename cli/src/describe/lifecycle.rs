//! The hooks of a container: what they are, and what the shim has recorded of them.

use k8s_openapi::api::core::v1::{Container, Lifecycle, LifecycleHandler, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use super::page::Page;
use crate::hooks::{Hook, Record, Termination};
use crate::manifest::{ANNOTATION_PREFIX, OWN_ANNOTATION};

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
            self::hook(page, 4, hook);
        }
    }
    if let Some(signal) = &lifecycle.stop_signal {
        page.line(3, "Stop Signal:", signal);
    }
    let Some(record) = record else { return };
    page.line(3, "Phase:", &record.phase);
    if let Some(termination) = &record.termination {
        self::termination(page, 3, termination);
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

/// What became of a hook.
pub(crate) fn hook(page: &mut Page, depth: usize, hook: &Hook) {
    page.line(depth, "Result:", result(hook));
    time(page, depth, "Started:", hook.started_at);
    time(page, depth, "Finished:", hook.finished_at);
    if let Some(milliseconds) = hook.duration_ms {
        page.line(depth, "Duration:", format!("{milliseconds:.1}ms"));
    }
    if let (Some(user), Some(system)) = (hook.cpu_user_usec, hook.cpu_system_usec) {
        page.line(
            depth,
            "CPU Time:",
            format!("{user}us user, {system}us system"),
        );
    }
    if let Some(bytes) = hook.memory_peak_bytes {
        page.line(depth, "Peak Memory:", format!("{}Ki", bytes.div_ceil(1024)));
    }
    let output = hook.output.as_deref().unwrap_or_default().trim_end();
    if !output.is_empty() {
        page.list(depth, "Output:", output.lines().map(str::to_owned));
    }
}

/// `Failed (exited with status 3)`.
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

/// How the container was stopped.
pub(crate) fn termination(page: &mut Page, depth: usize, termination: &Termination) {
    page.line(
        depth,
        "Termination:",
        termination.signal.clone().unwrap_or_default(),
    );
    if let Some(seconds) = termination.grace_period_seconds {
        page.line(depth + 1, "Grace Period:", format!("{seconds}s"));
    }
    time(page, depth + 1, "Requested:", termination.requested_at);
    time(page, depth + 1, "Signalled:", termination.signalled_at);
    time(page, depth + 1, "Killed:", termination.killed_at);
    time(page, depth + 1, "Exited:", termination.exited_at);
    if let Some(status) = termination.exit_status {
        page.line(depth + 1, "Exit Status:", status.to_string());
    }
}

/// To the millisecond: hooks are short.
fn time(page: &mut Page, depth: usize, label: &str, time: Option<Timestamp>) {
    if let Some(time) = time {
        page.line(
            depth,
            label,
            time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        );
    }
}
