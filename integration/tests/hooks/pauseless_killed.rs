//! SIGKILL of the shim, the holder or containerd, or a client that gives up, at any moment of the life of a pod without a pause
//! container, and what the kubelet does then. Nothing is left, and the next pod lives. More of it is in `make chaos`.

use std::collections::BTreeSet;

use podhook_integration::chaos::Seed;
use podhook_integration::chaos::pods::{self, Phase, Victim};
use podhook_integration::suite::{Test, own_containerd};
use podhook_integration::{Node, Outcome, tests};

use crate::pauseless::only_there;

pub fn tests() -> Vec<Test> {
    only_there(own_containerd(tests![pauseless_killed:
        what_is_killed_at_any_moment_of_a_pods_life_leaves_nothing,
    ]))
}

fn what_is_killed_at_any_moment_of_a_pods_life_leaves_nothing(node: &Node) -> Outcome {
    let mut struck = BTreeSet::new();
    for (phase, victim) in pods::pairs() {
        let mut seed = Seed::of(1, &format!("{phase:?} {victim:?}"));
        let seen = pods::round(node, phase, victim, &mut seed)
            .map_err(|error| format!("{victim:?} in {phase:?}: {error}"))?;
        assert!(seen.is_good(), "{victim:?} in {phase:?}: {seen:?}");
        if seen.struck {
            struck.insert((phase, victim));
        }
    }
    // In the others it may have gone before.
    for met in [
        (Phase::RunPod, Victim::Shim),
        (Phase::RunPod, Victim::Holder),
        (Phase::Running, Victim::Shim),
        (Phase::Running, Victim::Holder),
    ] {
        assert!(struck.contains(&met), "{met:?} was not met: {struck:?}");
    }
    Ok(())
}
