//! A container of a pod in CRI's terms (kubelet `generateContainerConfig`).

use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ImageSpec, LinuxContainerConfig, Mount, MountPropagation,
};
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};

use super::Placement;
use super::env::{self, Facts};
use super::image;
use super::labels;
use super::resources;
use super::security;

/// The container `container` of `pod`.
#[must_use]
pub fn config(
    pod: &Pod,
    container: &Container,
    placement: &Placement,
    facts: &Facts,
) -> ContainerConfig {
    let envs = env::environment(pod, &placement.uid, container, facts);
    let image = container.image.clone().unwrap_or_default();
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: container.name.clone(),
            attempt: 0,
        }),
        image: Some(ImageSpec {
            image: image::normalize(&image),
            user_specified_image: image,
            ..Default::default()
        }),
        command: env::arguments(container.command.as_ref(), &envs),
        args: env::arguments(container.args.as_ref(), &envs),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts: mounts(pod, container, placement),
        labels: labels::container_labels(pod, &placement.uid, container),
        annotations: labels::container_annotations(pod, container),
        // Relative to the sandbox's log directory (kubelet BuildContainerLogsPath).
        log_path: log_path(&container.name),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(LinuxContainerConfig {
            resources: Some(resources::linux(pod, container, placement.memory_capacity)),
            security_context: Some(security::container(pod, container)),
        }),
        envs,
        ..Default::default()
    }
}

/// Where a container's log is, below the pod's log directory.
#[must_use]
pub fn log_path(container: &str) -> String {
    format!("{container}/0.log")
}

fn mounts(pod: &Pod, container: &Container, placement: &Placement) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = container
        .volume_mounts
        .iter()
        .flatten()
        .filter_map(|mount| {
            let source = volume_path(pod, &mount.name, placement)?;
            Some(volume_mount(mount, source))
        })
        .collect();
    if let Some(path) = container
        .termination_message_path
        .as_ref()
        .filter(|p| !p.is_empty())
    {
        mounts.push(Mount {
            container_path: path.clone(),
            host_path: placement
                .termination_log(&container.name)
                .display()
                .to_string(),
            ..Default::default()
        });
    }
    mounts
}

/// The node's path of a volume; `None` when the pod has no such volume (validation refuses that).
fn volume_path(pod: &Pod, name: &str, placement: &Placement) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let volume = spec.volumes.iter().flatten().find(|v| v.name == name)?;
    Some(match &volume.host_path {
        Some(host) => host.path.clone(),
        None => placement.empty_dir(name).display().to_string(),
    })
}

fn volume_mount(mount: &VolumeMount, host_path: String) -> Mount {
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => MountPropagation::PropagationBidirectional,
        _ => MountPropagation::PropagationPrivate,
    };
    Mount {
        // A relative mountPath is below the root (kubelet makeMounts).
        container_path: if mount.mount_path.starts_with('/') {
            mount.mount_path.clone()
        } else {
            format!("/{}", mount.mount_path)
        },
        host_path,
        readonly: mount.read_only == Some(true),
        propagation: propagation.into(),
        ..Default::default()
    }
}
