//! A pod as the Kubernetes API shows it: what CRI reports, as `status` (kubelet
//! `convertToAPIContainerStatuses`, `getPhase`).

use k8s_cri::v1::{ContainerState as CriState, ContainerStatus as CriStatus, PodSandboxState};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;

use super::PodView;
use super::container_name;
use super::termination;
use crate::manifest::{self, Qos, qos};

/// What the kubelet calls a container that the runtime could not start.
pub const START_ERROR: &str = "RunContainerError";

/// The pod as an API object.
#[must_use]
pub fn object(view: &PodView) -> Pod {
    let mut pod = view.manifest.clone().unwrap_or_else(|| guess(view));
    pod.metadata.uid = Some(view.uid.clone());
    pod.metadata.creation_timestamp = view.created.map(Time);
    if let Some(deletion) = &view.deletion {
        pod.metadata.deletion_timestamp = Some(Time(deletion.deletion_timestamp));
        pod.metadata.deletion_grace_period_seconds = Some(deletion.grace_period_seconds);
    }
    let statuses: Vec<ContainerStatus> = pod
        .spec
        .iter()
        .flat_map(|s| &s.containers)
        .map(|container| status(view, container))
        .collect();
    let init: Vec<ContainerStatus> = pod
        .spec
        .iter()
        .flat_map(|s| s.init_containers.iter().flatten())
        .map(|container| ContainerStatus {
            // It has done its work.
            ready: true,
            ..status(view, container)
        })
        .collect();
    let ready = !statuses.is_empty() && statuses.iter().all(|s| s.ready);
    let ips = ips(view);
    pod.status = Some(PodStatus {
        phase: Some(phase(view, &statuses).to_owned()),
        conditions: Some(conditions(ready)),
        container_statuses: Some(statuses),
        init_container_statuses: Some(init).filter(|init| !init.is_empty()),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.into_iter().map(|ip| PodIP { ip }).collect()),
        qos_class: match &view.manifest {
            Some(_) => Some(qos(&pod).to_string()),
            None => guess_qos(view).map(|qos| qos.to_string()),
        },
        start_time: view.created.map(Time),
        ..Default::default()
    });
    pod
}

/// A pod that podhook did not make: what CRI knows of its spec.
fn guess(view: &PodView) -> Pod {
    let sandbox = view.sandboxes.first().cloned().unwrap_or_default();
    let own = |key: &str| {
        ![
            manifest::POD_NAME,
            manifest::POD_NAMESPACE,
            manifest::POD_UID,
        ]
        .contains(&key)
    };
    let image = |c: &CriStatus| {
        c.image.as_ref().map(|i| {
            let names = [&i.user_specified_image, &i.image];
            names
                .into_iter()
                .find(|n| !n.is_empty())
                .cloned()
                .unwrap_or_default()
        })
    };
    let container = |c: &CriStatus| Container {
        name: container_name(c).to_owned(),
        image: image(c),
        ports: ports(c),
        ..Default::default()
    };
    let (init, main): (Vec<_>, Vec<_>) =
        view.containers.iter().partition(|c| has_prepared(c, view));
    let init: Vec<_> = init.into_iter().map(container).collect();
    Pod {
        metadata: ObjectMeta {
            name: Some(view.name.clone()),
            namespace: Some(view.namespace.clone()),
            labels: Some(sandbox.labels.into_iter().filter(|(k, _)| own(k)).collect()),
            annotations: Some(sandbox.annotations.into_iter().collect()),
            ..Default::default()
        },
        spec: Some(PodSpec {
            containers: main.into_iter().map(container).collect(),
            init_containers: Some(init).filter(|init| !init.is_empty()),
            runtime_class_name: Some(sandbox.runtime_handler).filter(|h| !h.is_empty()),
            ..Default::default()
        }),
        status: None,
    }
}

/// The ports that a kubelet tells the runtime.
fn ports(container: &CriStatus) -> Option<Vec<ContainerPort>> {
    let text = container.annotations.get(manifest::PORTS)?;
    serde_json::from_str(text).ok()
}

/// Whether a container seems to be an init container that has done its work, which CRI does not say: it has ended with
/// 0 before any that came after it was made. The kubelet waits like this for init containers, and for no others.
fn has_prepared(container: &CriStatus, view: &PodView) -> bool {
    let attempt = |c: &CriStatus| c.metadata.as_ref().map_or(0, |m| m.attempt);
    let after: Vec<_> = view
        .containers
        .iter()
        .filter(|other| other.created_at > container.created_at)
        .collect();
    // One that was started again came first before that.
    let first: Vec<_> = after.iter().filter(|c| attempt(c) == 0).collect();
    let made = first.into_iter().map(|c| c.created_at).min();
    let made = made.or_else(|| after.iter().map(|c| c.created_at).min());
    container.state() == CriState::ContainerExited
        && container.exit_code == 0
        && container.finished_at > 0
        && made.is_some_and(|made| container.finished_at <= made)
}

/// The class by what the kubelet gave the containers; none where that does not tell.
fn guess_qos(view: &PodView) -> Option<Qos> {
    let all = view.containers.iter().map(|c| {
        let linux = c.resources.as_ref()?.linux.as_ref()?;
        match linux.oom_score_adj {
            1000 => Some(Qos::BestEffort),
            2..1000 => Some(Qos::Burstable),
            // Those that a node cannot do without have it too, whatever their class.
            -997 if linux.memory_limit_in_bytes > 0 && linux.cpu_quota > 0 => Some(Qos::Guaranteed),
            _ => None,
        }
    });
    let mut all = all.collect::<Option<Vec<_>>>()?.into_iter();
    let first = all.next()?;
    Some(if all.all(|qos| qos == first) {
        first
    } else {
        Qos::Burstable
    })
}

fn ips(view: &PodView) -> Vec<String> {
    let network = view.status.as_ref().and_then(|s| s.network.as_ref());
    network
        .map(|n| {
            let more = n.additional_ips.iter().map(|ip| &ip.ip);
            std::iter::once(&n.ip)
                .chain(more)
                .filter(|ip| !ip.is_empty())
                .cloned()
                .collect()
        })
        .unwrap_or_default()
}

fn status(view: &PodView, container: &Container) -> ContainerStatus {
    let image = container.image.clone().unwrap_or_default();
    let Some(cri) = view.container(&container.name) else {
        return ContainerStatus {
            name: container.name.clone(),
            image,
            started: Some(false),
            state: Some(waiting("ContainerCreating")),
            ..Default::default()
        };
    };
    let running = cri.state() == CriState::ContainerRunning;
    ContainerStatus {
        name: container.name.clone(),
        image,
        image_id: cri.image_ref.clone(),
        container_id: Some(format!("containerd://{}", cri.id)),
        ready: running,
        started: Some(running),
        restart_count: cri
            .metadata
            .as_ref()
            .map_or(0, |m| i32::try_from(m.attempt).unwrap_or(i32::MAX)),
        state: Some(state(cri, container)),
        ..Default::default()
    }
}

fn state(cri: &CriStatus, container: &Container) -> ContainerState {
    match cri.state() {
        // Also while a postStart hook runs: the API shows no more under a kubelet.
        CriState::ContainerCreated => waiting("ContainerCreating"),
        CriState::ContainerRunning => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: time(cri.started_at),
            }),
            ..Default::default()
        },
        CriState::ContainerExited => ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: cri.exit_code,
                reason: Some(if cri.reason == "StartError" {
                    START_ERROR.to_owned()
                } else {
                    cri.reason.clone()
                }),
                message: termination::message(cri, container),
                started_at: time(cri.started_at),
                finished_at: time(cri.finished_at),
                container_id: Some(format!("containerd://{}", cri.id)),
                signal: None,
            }),
            ..Default::default()
        },
        CriState::ContainerUnknown => waiting("ContainerStatusUnknown"),
    }
}

fn waiting(reason: &str) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: None,
        }),
        ..Default::default()
    }
}

/// The phase of a pod whose containers are never restarted.
fn phase(view: &PodView, statuses: &[ContainerStatus]) -> &'static str {
    let states = || statuses.iter().filter_map(|s| s.state.as_ref());
    let dead = view
        .sandboxes
        .first()
        .is_some_and(|s| s.state() != PodSandboxState::SandboxReady);
    if states().any(|s| s.running.is_some()) {
        "Running"
    } else if statuses.is_empty() || states().any(|s| s.waiting.is_some()) {
        // Without a container nothing can have succeeded.
        if dead { "Unknown" } else { "Pending" }
    } else if states().all(|s| s.terminated.as_ref().is_some_and(|t| t.exit_code == 0)) {
        "Succeeded"
    } else {
        "Failed"
    }
}

fn conditions(ready: bool) -> Vec<PodCondition> {
    let condition = |name: &str, holds: bool| PodCondition {
        type_: name.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        ..Default::default()
    };
    vec![
        condition("PodScheduled", true),
        condition("Initialized", true),
        condition("ContainersReady", ready),
        condition("Ready", ready),
    ]
}

fn time(nanoseconds: i64) -> Option<Time> {
    timestamp(nanoseconds).map(Time)
}

/// CRI's nanoseconds. 0 is no time, and so is Go's zero time, which is before 1970: containerd says it of a sandbox that
/// it could not make.
pub(super) fn timestamp(nanoseconds: i64) -> Option<Timestamp> {
    if nanoseconds <= 0 {
        return None;
    }
    Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()
}
