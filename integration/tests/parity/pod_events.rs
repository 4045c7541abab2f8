//! What containerd's CRI tells of a pod as it happens (`crictl events`, the kubelet's evented PLEG).

use podhook_integration::suite::{Test, unless};
use podhook_integration::wait::SOON;
use podhook_integration::{Generation, Node, Outcome, tests};

pub fn tests() -> Vec<Test> {
    unless(tests![pod_events: a_pods_life_is_told_in_order], |place| {
        let old = place.generation < Generation::V1_7;
        old.then_some("CRI of containerd 1.6 has no GetContainerEvents")
    })
}

const CREATED: &str = "CONTAINER_CREATED_EVENT";
const STARTED: &str = "CONTAINER_STARTED_EVENT";
const STOPPED: &str = "CONTAINER_STOPPED_EVENT";
const DELETED: &str = "CONTAINER_DELETED_EVENT";

/// The pod is an event's container, too.
fn a_pods_life_is_told_in_order(node: &Node) -> Outcome {
    let cri = node.containerd().cri()?;
    let mut events = cri.container_events()?;
    let pod = node.pod("told").run()?;
    let mut expect = |id: &str, what: &str| -> Outcome {
        let (of, event) = events.next(pod.id(), SOON)?;
        assert_eq!((of.as_str(), event), (id, what));
        Ok(())
    };
    expect(pod.id(), CREATED)?;
    expect(pod.id(), STARTED)?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let id = container.id().to_owned();
    expect(&id, CREATED)?;
    expect(&id, STARTED)?;
    container.stop(0)?;
    expect(&id, STOPPED)?;
    container.remove()?;
    expect(&id, DELETED)?;
    pod.remove()?;
    expect(pod.id(), STOPPED)?;
    expect(pod.id(), DELETED)
}
