//! What the page says of the pod itself.

use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::node::machine;
use crate::output::age::rfc1123;
use crate::output::page::Page;
use crate::pods::PodView;
use crate::pods::row::status;

/// What stands above the containers.
pub(crate) fn header(page: &mut Page, view: &PodView, pod: &Pod) {
    let spec = pod.spec.clone().unwrap_or_default();
    let state = pod.status.clone().unwrap_or_default();
    page.line(0, "Name:", &view.name);
    page.line(0, "Namespace:", &view.namespace);
    if let Some(class) = &spec.runtime_class_name {
        page.line(0, "Runtime Class Name:", class);
    }
    page.line(0, "Node:", machine::name());
    if let Some(start) = &state.start_time {
        page.line(0, "Start Time:", rfc1123(start.0));
    }
    page.pairs("Labels:", "=", pod.metadata.labels.iter().flatten());
    page.pairs(
        "Annotations:",
        ": ",
        pod.metadata.annotations.iter().flatten(),
    );
    match &view.deletion {
        Some(deletion) => {
            page.line(
                0,
                "Status:",
                format!("Terminating (by {})", rfc1123(deletion.deletion_timestamp)),
            );
            page.line(
                0,
                "Termination Grace Period:",
                format!("{}s", deletion.grace_period_seconds),
            );
        }
        None => page.line(0, "Status:", state.phase.clone().unwrap_or_default()),
    }
    let reason = status(pod);
    if view.deletion.is_none() && Some(&reason) != state.phase.as_ref() {
        page.line(0, "Reason:", reason);
    }
    page.line(0, "IP:", state.pod_ip.clone().unwrap_or_default());
    page.list(
        0,
        "IPs:",
        state
            .pod_ips
            .into_iter()
            .flatten()
            .map(|ip| format!("IP:  {}", ip.ip)),
    );
    if let Some(sandbox) = view.sandboxes.first() {
        page.line(0, "Sandbox ID:", format!("containerd://{}", sandbox.id));
    }
}

/// What stands below the containers. Without the manifest the volumes are not known.
pub(crate) fn footer(page: &mut Page, pod: &Pod, has_manifest: bool) {
    let state = pod.status.clone().unwrap_or_default();
    page.line(0, "Conditions:", "");
    page.line(1, "Type", "Status");
    for condition in state.conditions.iter().flatten() {
        page.line(1, &condition.type_, &condition.status);
    }
    let volumes: Vec<&Volume> = pod
        .spec
        .iter()
        .flat_map(|s| s.volumes.iter().flatten())
        .collect();
    if has_manifest {
        page.line(
            0,
            "Volumes:",
            if volumes.is_empty() { "<none>" } else { "" },
        );
    }
    for volume in volumes {
        page.line(1, format!("{}:", volume.name), "");
        if let Some(host) = &volume.host_path {
            page.line(2, "Type:", "HostPath (bare host directory volume)");
            page.line(2, "Path:", &host.path);
            page.line(2, "HostPathType:", host.type_.clone().unwrap_or_default());
        } else if let Some(empty) = &volume.empty_dir {
            page.line(
                2,
                "Type:",
                "EmptyDir (a temporary directory that shares a pod's lifetime)",
            );
            page.line(2, "Medium:", empty.medium.clone().unwrap_or_default());
            let limit = empty
                .size_limit
                .as_ref()
                .map_or("<unset>", |q| q.0.as_str());
            page.line(2, "SizeLimit:", limit);
        }
    }
    if let Some(class) = state.qos_class {
        page.line(0, "QoS Class:", class);
    }
}
