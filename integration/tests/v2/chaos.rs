//! `make chaos`, where cgroup v2 is the only hierarchy: some of it for containers, what leaves a cgroup, a leaf, or a process in
//! one; and all of it for pods without a pause container, whose cgroups the shim makes.

use podhook_integration::chaos::{HeldRuntime, Phase, Seed, Victim, pods, round};
use podhook_integration::shim::ShimKind;
use podhook_integration::suite::{Test, own_containerd, unless};
use podhook_integration::{Node, Outcome, driver, tests};

pub fn tests() -> Vec<Test> {
    let containers = tests![chaos: what_is_killed_at_any_phase_leaves_nothing];
    let containers = unless(own_containerd(containers), |place| {
        if place.shim == ShimKind::Pauseless {
            return Some("`ctr container create` makes no pod");
        }
        let other = driver::is_systemd() || driver::oci_runtime().is_some();
        other.then_some("`ctr container create` takes neither a cgroup driver nor an OCI runtime")
    });
    let pods = tests![chaos:
        a_pod_leaves_nothing_whose_shim_is_killed,
        a_pod_leaves_nothing_whose_holder_is_killed,
        a_pod_leaves_nothing_whose_containerd_is_killed,
        a_pod_leaves_nothing_whose_client_gives_up,
    ];
    let pods = unless(own_containerd(pods), |place| {
        let other = place.shim != ShimKind::Pauseless;
        other.then_some("a pod with a pause container has no holder")
    });
    [containers, pods].concat()
}

/// Each victim once, where it has most to leave.
const ROUNDS: [(Phase, Victim); 8] = [
    (Phase::Create, Victim::Shim),
    (Phase::Create, Victim::Runtime),
    (Phase::PostStart, Victim::Command),
    (Phase::PostStart, Victim::Containerd),
    (Phase::Exec, Victim::Joiner),
    (Phase::Exec, Victim::Shim),
    (Phase::PreStop, Victim::Init),
    (Phase::DeleteVerb, Victim::Runtime),
];

fn what_is_killed_at_any_phase_leaves_nothing(node: &Node) -> Outcome {
    let runtime = HeldRuntime::install(node.containerd())?;
    for (phase, victim) in ROUNDS {
        let mut seed = Seed::of(1, &format!("{phase}/{victim}"));
        let seen = round::run(node, &runtime, phase, victim, &mut seed)
            .map_err(|error| format!("{phase}/{victim}: {error}"))?;
        assert!(seen.is_good(phase, victim), "{phase}/{victim}: {seen:?}");
    }
    Ok(())
}

fn a_pod_leaves_nothing_whose_shim_is_killed(node: &Node) -> Outcome {
    pods_without(node, pods::Victim::Shim)
}

fn a_pod_leaves_nothing_whose_holder_is_killed(node: &Node) -> Outcome {
    pods_without(node, pods::Victim::Holder)
}

fn a_pod_leaves_nothing_whose_containerd_is_killed(node: &Node) -> Outcome {
    pods_without(node, pods::Victim::Containerd)
}

fn a_pod_leaves_nothing_whose_client_gives_up(node: &Node) -> Outcome {
    pods_without(node, pods::Victim::Client)
}

/// A pod for each phase at which there is such a victim.
fn pods_without(node: &Node, victim: pods::Victim) -> Outcome {
    let all = pods::pairs().into_iter();
    for (phase, victim) in all.filter(|(_, own)| *own == victim) {
        let part = format!("{}/{}", phase.name(), victim.name());
        let mut seed = Seed::of(1, &part);
        let seen = pods::round(node, phase, victim, &mut seed)
            .map_err(|error| format!("{part}: {error}"))?;
        assert!(seen.is_good(), "{part}: {seen:?}");
    }
    Ok(())
}
