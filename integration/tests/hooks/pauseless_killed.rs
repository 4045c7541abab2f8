//! SIGKILL of the shim, the holder or containerd at any moment of the life of a pod without a pause container, and what
//! the kubelet does then: it stops the pod and removes it, until that is done. Nothing is left, and the next pod lives.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::containerd::remains;
use podhook_integration::cri::{self, Cri, v1};
use podhook_integration::suite::{Test, own_containerd};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};

use crate::pauseless::only_there;
use crate::script::Error;

pub fn tests() -> Vec<Test> {
    only_there(own_containerd(tests![pauseless_killed:
        what_is_killed_at_any_moment_of_a_pods_life_leaves_nothing,
    ]))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Shim,
    Holder,
    Containerd,
}

/// The call that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Run,
    Stop,
    Remove,
}

const VICTIMS: [Victim; 3] = [Victim::Shim, Victim::Holder, Victim::Containerd];
const MOMENTS: [Moment; 3] = [Moment::Run, Moment::Stop, Moment::Remove];
/// So far into the call, or as soon after that as there is a victim.
const DELAYS: [u64; 2] = [0, 30];

/// The shims that were not there before.
fn new_shims(node: &Node, before: &BTreeSet<i32>) -> Vec<remains::Shim> {
    let shims = remains::shims(&node.containerd().address());
    let is_new = |shim: &remains::Shim| !before.contains(&shim.pid);
    shims.into_iter().filter(is_new).collect()
}

fn is_holder(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "podhook-pause\n")
}

/// Kills it, if it is there while the call is under way.
fn strike(
    node: &Node,
    victim: Victim,
    before: &BTreeSet<i32>,
    under_way: impl Fn() -> bool,
) -> Result<bool, Error> {
    if victim == Victim::Containerd {
        node.containerd().crash()?;
        return Ok(true);
    }
    loop {
        for shim in new_shims(node, before) {
            let found = match victim {
                Victim::Shim => Some(shim.pid),
                _ => {
                    let children = remains::children(shim.pid.cast_unsigned());
                    children.into_iter().find(|pid| is_holder(*pid))
                }
            };
            if let Some(pid) = found {
                return Ok(kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
            }
        }
        if !under_way() {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn pods(cri: &Cri, uid: &str) -> Result<Vec<v1::PodSandbox>, cri::Error> {
    let all = cri.list_pod_sandbox(v1::ListPodSandboxRequest::default())?;
    let is = |pod: &v1::PodSandbox| pod.metadata.as_ref().is_some_and(|of| of.uid == uid);
    Ok(all.items.into_iter().filter(is).collect())
}

fn stop(cri: &Cri, id: &str) -> Result<(), cri::Error> {
    cri.stop_pod_sandbox(v1::StopPodSandboxRequest {
        pod_sandbox_id: id.to_owned(),
    })?;
    Ok(())
}

fn remove(cri: &Cri, id: &str) -> Result<(), cri::Error> {
    cri.remove_pod_sandbox(v1::RemovePodSandboxRequest {
        pod_sandbox_id: id.to_owned(),
    })?;
    Ok(())
}

/// As the kubelet does, again and again.
fn clean(cri: &Cri, uid: &str) -> Outcome {
    let mut last = String::new();
    let done = wait::until_true("the pod to be removed", SOON, || {
        let Ok(pods) = pods(cri, uid) else {
            return false;
        };
        for pod in &pods {
            if let Err(error) = stop(cri, &pod.id).and_then(|()| remove(cri, &pod.id)) {
                last = error.to_string();
            }
        }
        pods.is_empty()
    });
    Ok(done.map_err(|error| format!("{error}: {last}"))?)
}

/// A containerd that is killed after it made a pod's network namespace, and before it has noted that, never removes it,
/// whatever the pod's runtime is. There is no pod now that has one.
fn forget_networks(node: &Node) -> Outcome {
    let state = node.containerd().dir().join("state");
    let folder = |place: &Path| place.parent()?.file_name().map(|name| name == "netns");
    let mounts = remains::mounts(&state).into_iter();
    for place in mounts.filter(|place| folder(place) == Some(true)) {
        umount2(&place, MntFlags::MNT_DETACH)?;
        fs::remove_file(&place)?;
    }
    Ok(())
}

/// Whether something was killed.
fn round(
    node: &Node,
    victim: Victim,
    moment: Moment,
    delay: Duration,
    config: &v1::PodSandboxConfig,
) -> Result<bool, Error> {
    let cri = node.containerd().cri()?;
    let request = v1::RunPodSandboxRequest {
        config: Some(config.clone()),
        runtime_handler: node.shim().handler().to_owned(),
    };
    let uid = config.metadata.clone().unwrap_or_default().uid;
    let before: BTreeSet<_> = new_shims(node, &BTreeSet::new())
        .iter()
        .map(|shim| shim.pid)
        .collect();
    let made = (moment != Moment::Run)
        .then(|| cri.run_pod_sandbox(request.clone()))
        .transpose()?;
    let id = made.map(|made| made.pod_sandbox_id).unwrap_or_default();
    if moment == Moment::Remove {
        stop(cri, &id)?;
    }
    let struck = thread::scope(|scope| {
        let call = scope.spawn(|| match moment {
            // Its answer may be lost; what counts is what is there.
            Moment::Run => cri.run_pod_sandbox(request).map(drop),
            Moment::Stop => stop(cri, &id),
            Moment::Remove => remove(cri, &id),
        });
        thread::sleep(delay);
        let struck = strike(node, victim, &before, || !call.is_finished());
        let answer = call.join().map_err(|_| "the call panicked")?;
        // Whose shim or containerd is gone may be told so, and asks again.
        if victim == Victim::Holder && moment != Moment::Run {
            answer?;
        }
        struck
    })?;
    clean(cri, &uid)?;
    if (victim, moment) == (Victim::Containerd, Moment::Run) {
        forget_networks(node)?;
    }
    wait::until_true("the shim and the holder to be gone", SOON, || {
        new_shims(node, &before).is_empty()
    })?;
    Ok(struck)
}

fn what_is_killed_at_any_moment_of_a_pods_life_leaves_nothing(node: &Node) -> Outcome {
    let mut struck = BTreeSet::new();
    for delay in DELAYS.map(Duration::from_millis) {
        for (victim, moment) in VICTIMS
            .into_iter()
            .flat_map(|victim| MOMENTS.map(|moment| (victim, moment)))
        {
            let mut config = v1::PodSandboxConfig::default();
            let _pod = node.pod("killed").config(|own| config = own.clone());
            let hit = round(node, victim, moment, delay, &config)
                .map_err(|error| format!("{victim:?} in {moment:?} after {delay:?}: {error}"))?;
            if hit {
                struck.insert((victim, moment));
            }
        }
        // As if nothing had been.
        let next = node.pod("next").run()?;
        let container = next.container("main").command(&["sleep", "600"]).start()?;
        assert_eq!(container.exec(&["echo", "alive"])?, "alive\n");
    }
    // In the others it may have gone before.
    for met in [
        (Victim::Shim, Moment::Run),
        (Victim::Holder, Moment::Run),
        (Victim::Shim, Moment::Stop),
        (Victim::Shim, Moment::Remove),
    ] {
        assert!(struck.contains(&met), "{met:?} was not met: {struck:?}");
    }
    let parent = node.containerd().id();
    let left: Vec<_> = remains::cgroups(parent)
        .iter()
        .flat_map(|cgroup| remains::tree(cgroup))
        .filter(|cgroup| cgroup.file_name().is_some_and(|name| name != parent))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let bundles = node.containerd().sandbox_bundle("k8s.io", "");
    let left = fs::read_dir(bundles).map(Iterator::count);
    assert_eq!(left.unwrap_or(0), 0);
    Ok(())
}
