//! Requests and limits as cgroup settings (kubelet `kuberuntime_container_linux.go`, `pkg/kubelet/qos`).

use std::collections::BTreeMap;

use k8s_cri::v1::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use super::quantity::Quantity;

const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const SHARES_PER_CPU: i64 = 1024;
const QUOTA_PERIOD: i64 = 100_000;
const MIN_QUOTA: i64 = 1000;
const GUARANTEED_OOM_SCORE: i64 = -997;
const BEST_EFFORT_OOM_SCORE: i64 = 1000;

/// A pod's quality of service class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// Every container has limits for CPU and memory, and requests equal to them.
    Guaranteed,
    /// Some container has a request or a limit.
    Burstable,
    /// None has.
    BestEffort,
}

impl std::fmt::Display for Qos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        })
    }
}

/// The class of a pod, requests already defaulted from limits.
#[must_use]
pub fn qos(pod: &Pod) -> Qos {
    let containers = pod.spec.iter().flat_map(|s| &s.containers);
    let (mut any, mut all) = (false, true);
    for container in containers {
        for name in ["cpu", "memory"] {
            let (limit, request) = (limit(container, name), request(container, name));
            any |= limit.is_some() || request.is_some();
            all &= limit.is_some() && limit == request;
        }
    }
    match (any, all) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// The CRI resources of a container on a node with `memory_capacity` bytes.
pub(super) fn linux(
    pod: &Pod,
    container: &Container,
    memory_capacity: i64,
) -> LinuxContainerResources {
    let cpu_limit = limit(container, "cpu").map(Quantity::milli);
    let cpu_request = request(container, "cpu").map(Quantity::milli);
    // Without a request the limit decides; with neither, the least share.
    let shares_of = match (cpu_request, cpu_limit) {
        (None | Some(0), Some(limit)) => limit,
        (request, _) => request.unwrap_or(0),
    };
    LinuxContainerResources {
        cpu_period: QUOTA_PERIOD,
        cpu_quota: cpu_limit.map_or(0, quota),
        cpu_shares: (shares_of.saturating_mul(SHARES_PER_CPU) / 1000).clamp(MIN_SHARES, MAX_SHARES),
        memory_limit_in_bytes: limit(container, "memory").map_or(0, Quantity::value),
        oom_score_adj: oom_score(pod, container, memory_capacity),
        ..Default::default()
    }
}

fn quota(milli: i64) -> i64 {
    if milli == 0 {
        return 0;
    }
    (milli.saturating_mul(QUOTA_PERIOD) / 1000).max(MIN_QUOTA)
}

/// The less of the node's memory a container asks for, the sooner it is killed.
fn oom_score(pod: &Pod, container: &Container, memory_capacity: i64) -> i64 {
    match qos(pod) {
        Qos::Guaranteed => GUARANTEED_OOM_SCORE,
        Qos::BestEffort => BEST_EFFORT_OOM_SCORE,
        Qos::Burstable => {
            let request = request(container, "memory").map_or(0, Quantity::value);
            let share = request
                .saturating_mul(1000)
                .checked_div(memory_capacity.max(1));
            let score = 1000i64.saturating_sub(share.unwrap_or_default());
            // Never as safe as a Guaranteed one, never as unsafe as a BestEffort one.
            score.clamp(1000 + GUARANTEED_OOM_SCORE, BEST_EFFORT_OOM_SCORE - 1)
        }
    }
}

fn limit(container: &Container, name: &str) -> Option<Quantity> {
    parsed(container.resources.as_ref()?.limits.as_ref()?, name)
}

fn request(container: &Container, name: &str) -> Option<Quantity> {
    parsed(container.resources.as_ref()?.requests.as_ref()?, name)
}

fn parsed(quantities: &BTreeMap<String, ApiQuantity>, name: &str) -> Option<Quantity> {
    quantities.get(name)?.0.parse().ok()
}
