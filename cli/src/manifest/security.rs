//! Security contexts (kubelet `kuberuntime/security_context.go`, `pkg/securitycontext`): what the
//! container sets wins over what the pod sets.

use k8s_cri::v1::security_profile::ProfileType;
use k8s_cri::v1::{
    Capability, Image, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext,
    NamespaceMode, NamespaceOption, SecurityProfile,
};
use k8s_openapi::api::core::v1::{
    Container, Pod, PodSecurityContext, SeccompProfile, SecurityContext,
};

fn of_pod(pod: &Pod) -> PodSecurityContext {
    pod.spec
        .as_ref()
        .and_then(|s| s.security_context.clone())
        .unwrap_or_default()
}

fn of_container(container: &Container) -> SecurityContext {
    container.security_context.clone().unwrap_or_default()
}

fn int(value: Option<i64>) -> Option<Int64Value> {
    value.map(|value| Int64Value { value })
}

fn profile(kind: ProfileType) -> Option<SecurityProfile> {
    Some(SecurityProfile {
        profile_type: kind.into(),
        localhost_ref: String::new(),
    })
}

/// The namespaces that a pod shares, and with whom.
fn namespaces(pod: &Pod) -> NamespaceOption {
    let spec = pod.spec.clone().unwrap_or_default();
    let host_or_pod = |host: Option<bool>| match host {
        Some(true) => NamespaceMode::Node,
        _ => NamespaceMode::Pod,
    };
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => NamespaceMode::Node,
        (_, Some(true)) => NamespaceMode::Pod,
        _ => NamespaceMode::Container,
    };
    NamespaceOption {
        network: host_or_pod(spec.host_network).into(),
        ipc: host_or_pod(spec.host_ipc).into(),
        pid: pid.into(),
        ..Default::default()
    }
}

/// fsGroup is one of the groups of every process (`supplementalGroups` as the kubelet sends them).
fn groups(security: &PodSecurityContext) -> Vec<i64> {
    let own = security.supplemental_groups.clone().unwrap_or_default();
    security.fs_group.into_iter().chain(own).collect()
}

/// Of the sandbox.
pub(super) fn sandbox(pod: &Pod) -> LinuxSandboxSecurityContext {
    let security = of_pod(pod);
    let containers = pod.spec.iter().flat_map(|s| &s.containers);
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        run_as_user: int(security.run_as_user),
        run_as_group: int(security.run_as_group),
        supplemental_groups: groups(&security),
        privileged: containers
            .map(of_container)
            .any(|s| s.privileged == Some(true)),
        // The pause process needs nothing (kubelet generatePodSandboxLinuxConfig).
        seccomp: profile(ProfileType::RuntimeDefault),
        ..Default::default()
    }
}

/// Of a container.
pub(super) fn container(pod: &Pod, container: &Container) -> LinuxContainerSecurityContext {
    let (pod_wide, own) = (of_pod(pod), of_container(container));
    let privileged = own.privileged == Some(true);
    let seccomp = own
        .seccomp_profile
        .as_ref()
        .or(pod_wide.seccomp_profile.as_ref());
    LinuxContainerSecurityContext {
        capabilities: own.capabilities.clone().map(|c| Capability {
            add_capabilities: c.add.unwrap_or_default(),
            drop_capabilities: c.drop.unwrap_or_default(),
            ..Default::default()
        }),
        privileged,
        namespace_options: Some(namespaces(pod)),
        run_as_user: int(own.run_as_user.or(pod_wide.run_as_user)),
        run_as_group: int(own.run_as_group.or(pod_wide.run_as_group)),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(&pod_wide),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        seccomp: profile(seccomp_type(seccomp, privileged)),
        ..Default::default()
    }
}

/// Kubernetes' default is no seccomp profile (`SeccompDefault` is off unless the node asks for it).
fn seccomp_type(seccomp: Option<&SeccompProfile>, privileged: bool) -> ProfileType {
    match seccomp {
        Some(profile) if profile.type_ == "RuntimeDefault" && !privileged => {
            ProfileType::RuntimeDefault
        }
        _ => ProfileType::Unconfined,
    }
}

/// `runAsNonRoot`: checks the user that the container will have (kubelet `verifyRunAsNonRoot`).
///
/// # Errors
/// The kubelet's message, when that user is root or cannot be told.
pub fn check_non_root(pod: &Pod, container: &Container, image: &Image) -> Result<(), String> {
    let (pod_wide, own) = (of_pod(pod), of_container(container));
    if own.run_as_non_root.or(pod_wide.run_as_non_root) != Some(true) {
        return Ok(());
    }
    match own.run_as_user.or(pod_wide.run_as_user) {
        Some(0) => return Err("container's runAsUser breaks non-root policy".to_owned()),
        Some(_) => return Ok(()),
        None => {}
    }
    match &image.uid {
        Some(uid) if uid.value != 0 => Ok(()),
        None if !image.username.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root",
            image.username
        )),
        _ => Err("container has runAsNonRoot and image will run as root".to_owned()),
    }
}
