//! What containerd's CRI tells of a pod as it happens (`crictl events`, the kubelet's evented PLEG).

use std::time::Duration;

use podhook_integration::suite::{Test, unless};
use podhook_integration::wait::{self, SOON};
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
    let events = node.containerd().cri()?.container_events();
    wait::until_true("events to arrive", SOON, || {
        let pod = node.pod("first").run();
        pod.is_ok_and(|pod| events.next(pod.id(), Duration::from_secs(1)).is_some())
    })?;
    let pod = node.pod("told").run()?;
    let expect = |id: &str, what: &'static str| {
        let next = events.next(pod.id(), SOON);
        assert_eq!(next, Some((id.to_owned(), what)));
    };
    expect(pod.id(), CREATED);
    expect(pod.id(), STARTED);
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let id = container.id().to_owned();
    expect(&id, CREATED);
    expect(&id, STARTED);
    container.stop(0)?;
    expect(&id, STOPPED);
    container.remove()?;
    expect(&id, DELETED);
    pod.remove()?;
    expect(pod.id(), STOPPED);
    expect(pod.id(), DELETED);
    Ok(())
}
