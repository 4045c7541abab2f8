//! The row of a pod (kubernetes `pkg/printers/internalversion` `printPod`).

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;

use crate::node::machine;
use crate::output::age;

/// The columns of `get pods`.
pub const COLUMNS: [&str; 5] = ["NAME", "READY", "STATUS", "RESTARTS", "AGE"];
/// The further columns of `-o wide`.
pub const WIDE_COLUMNS: [&str; 4] = ["IP", "NODE", "NOMINATED NODE", "READINESS GATES"];
const NONE: &str = "<none>";

/// The cells of a pod's row.
#[must_use]
pub fn row(pod: &Pod, wide: bool, now: Timestamp) -> Vec<String> {
    let statuses = statuses(pod);
    let ready = statuses.iter().filter(|s| is_ready(s)).count();
    let restarts: i32 = statuses.iter().map(|s| s.restart_count).sum();
    let mut cells = vec![
        pod.metadata.name.clone().unwrap_or_default(),
        format!("{ready}/{}", statuses.len()),
        status(pod),
        restarts.to_string(),
        age::since(pod.metadata.creation_timestamp.as_ref(), now),
    ];
    if wide {
        let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone());
        cells.push(ip.unwrap_or_else(|| NONE.to_owned()));
        cells.extend([machine::name(), NONE.to_owned(), NONE.to_owned()]);
    }
    cells
}

fn statuses(pod: &Pod) -> &[ContainerStatus] {
    pod.status
        .as_ref()
        .and_then(|s| s.container_statuses.as_deref())
        .unwrap_or_default()
}

fn is_ready(status: &ContainerStatus) -> bool {
    status.ready && status.state.as_ref().is_some_and(|s| s.running.is_some())
}

/// The STATUS column: the reason of the first container that is not well, else the phase.
#[must_use]
pub fn status(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    let mut reason = pod
        .status
        .as_ref()
        .and_then(|s| s.phase.clone())
        .unwrap_or_default();
    let mut running = false;
    for status in statuses(pod).iter().rev() {
        let Some(state) = &status.state else { continue };
        if let Some(waiting) = state.waiting.as_ref().and_then(|w| w.reason.as_ref()) {
            reason.clone_from(waiting);
        } else if let Some(terminated) = &state.terminated {
            reason = match &terminated.reason {
                Some(text) if !text.is_empty() => text.clone(),
                _ => format!("ExitCode:{}", terminated.exit_code),
            };
        }
        running |= is_ready(status);
    }
    // A container that has done its work does not hide the ones that go on.
    if reason == "Completed" && running {
        let ready = statuses(pod).iter().all(is_ready);
        return if ready { "Running" } else { "NotReady" }.to_owned();
    }
    reason
}
