//! What containerd's CRI tells of a pod as it happens (`crictl events`, the kubelet's evented PLEG), and what it is told of
//! the pod's resources.

use podhook_integration::cri::v1;
use podhook_integration::suite::{Test, unless};
use podhook_integration::wait::SOON;
use podhook_integration::{Generation, Node, Outcome, tests};
use serde_json::Value;

pub fn tests() -> Vec<Test> {
    let mut all = unless(tests![pod_events: a_pods_life_is_told_in_order], |place| {
        let old = place.generation < Generation::V1_7;
        old.then_some("CRI of containerd 1.6 has no GetContainerEvents")
    });
    all.extend(unless(
        tests![pod_events: a_change_of_the_pods_resources_is_taken],
        |place| {
            let old = place.generation < Generation::V2_3;
            old.then_some("CRI of that containerd has no UpdatePodSandboxResources")
        },
    ));
    all
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

fn a_change_of_the_pods_resources_is_taken(node: &Node) -> Outcome {
    let pod = node.pod("resized").run()?;
    let resources = v1::LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        ..Default::default()
    };
    let request = v1::UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: pod.id().to_owned(),
        resources: Some(resources),
        ..Default::default()
    };
    let cri = node.containerd().cri()?;
    cri.update_pod_sandbox_resources(request)?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    assert_eq!(container.exec(&["echo", "here"])?, "here\n");
    let request = v1::PodSandboxStatusRequest {
        pod_sandbox_id: pod.id().to_owned(),
        verbose: true,
    };
    let answer = cri.pod_sandbox_status(request)?;
    let info = answer.info.get("info").map_or("", String::as_str);
    let info: Value = serde_json::from_str(info)?;
    let limit = &info["resources"]["linux"]["memory_limit_in_bytes"];
    assert_eq!(limit, 64 << 20, "{info}");
    Ok(())
}
