//! A pod as a CRI sandbox (kubelet `generatePodSandboxConfig`).

use k8s_cri::v1::{
    LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol,
};
use k8s_openapi::api::core::v1::{ContainerPort, Pod};

use super::Placement;
use super::dns;
use super::labels;
use super::security;

/// The longest host name that Linux takes less one (kubelet `truncatePodHostnameIfNeeded`).
const MAX_HOSTNAME: usize = 63;

/// The sandbox of `pod`.
#[must_use]
pub fn config(pod: &Pod, placement: &Placement) -> PodSandboxConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.clone(),
            uid: placement.uid.clone(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            attempt: 0,
        }),
        // A pod on the node's network has the node's name.
        hostname: if host_network {
            String::new()
        } else {
            hostname(spec.hostname.unwrap_or(name))
        },
        log_directory: placement.log_directory.display().to_string(),
        dns_config: dns::config(pod, &placement.resolv_conf),
        port_mappings: spec
            .containers
            .iter()
            .flat_map(|c| c.ports.iter().flatten())
            .map(port_mapping)
            .collect(),
        labels: labels::sandbox_labels(pod, &placement.uid),
        annotations: labels::sandbox_annotations(pod),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: placement.cgroup_parent.clone(),
            security_context: Some(security::sandbox(pod)),
            sysctls: spec
                .security_context
                .and_then(|s| s.sysctls)
                .unwrap_or_default()
                .into_iter()
                .map(|s| (s.name, s.value))
                .collect(),
            ..Default::default()
        }),
        windows: None,
    }
}

fn hostname(mut name: String) -> String {
    if name.len() > MAX_HOSTNAME {
        // Names are ASCII (validation), so this cuts no character.
        name.truncate(MAX_HOSTNAME);
        name.truncate(name.trim_end_matches(['-', '.']).len());
    }
    name
}

fn port_mapping(port: &ContainerPort) -> PortMapping {
    let protocol = match port.protocol.as_deref() {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    };
    PortMapping {
        protocol: protocol.into(),
        container_port: port.container_port,
        host_port: port.host_port.unwrap_or(0),
        host_ip: port.host_ip.clone().unwrap_or_default(),
    }
}
