//! Some of `make chaos`, where cgroup v2 is the only hierarchy: what leaves a cgroup, a leaf, or a process in one.

use podhook_integration::chaos::{HeldRuntime, Phase, Seed, Victim, round};
use podhook_integration::suite::{Test, own_containerd, unless};
use podhook_integration::{Node, Outcome, driver, tests};

pub fn tests() -> Vec<Test> {
    let tests = tests![chaos: what_is_killed_at_any_phase_leaves_nothing];
    unless(own_containerd(tests), |_| {
        let other = driver::is_systemd() || driver::oci_runtime().is_some();
        other.then_some("`ctr container create` takes neither a cgroup driver nor an OCI runtime")
    })
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
