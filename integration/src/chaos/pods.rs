//! The same for pods without a pause container, by CRI: SIGKILL of the shim, the holder or containerd, or a client that gives
//! up, at every phase of a pod's life. Then what the kubelet does: it stops the pod and removes it, until that is done.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Error, Seed};
use crate::Node;
use crate::containerd::remains;
use crate::cri::{self, Cri, v1};
use crate::wait::{self, SOON, scaled};

/// The call that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    RunPod,
    CreateContainer,
    StartContainer,
    /// None.
    Running,
    StopPod,
    RemovePod,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Victim {
    Shim,
    Holder,
    Containerd,
    /// Who waits for the answer gives up: the kubelet was started again.
    Client,
}

impl Phase {
    pub const ALL: [Self; 6] = [
        Self::RunPod,
        Self::CreateContainer,
        Self::StartContainer,
        Self::Running,
        Self::StopPod,
        Self::RemovePod,
    ];

    /// As it is printed and asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RunPod => "RunPodSandbox",
            Self::CreateContainer => "CreateContainer",
            Self::StartContainer => "StartContainer",
            Self::Running => "pod-running",
            Self::StopPod => "StopPodSandbox",
            Self::RemovePod => "RemovePodSandbox",
        }
    }
}

impl Victim {
    pub const ALL: [Self; 4] = [Self::Shim, Self::Holder, Self::Containerd, Self::Client];

    /// As it is printed and asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Shim => "shim",
            Self::Holder => "holder",
            Self::Containerd => "containerd",
            Self::Client => "client",
        }
    }

    /// Whether there is one at that phase. A stopped pod has no holder.
    #[must_use]
    pub fn is_at(self, phase: Phase) -> bool {
        match self {
            Self::Shim | Self::Containerd => true,
            Self::Holder => phase != Phase::RemovePod,
            Self::Client => !matches!(phase, Phase::CreateContainer | Phase::Running),
        }
    }
}

/// Every pair of a phase and a victim.
#[must_use]
pub fn pairs() -> Vec<(Phase, Victim)> {
    let all = Phase::ALL
        .into_iter()
        .flat_map(|phase| Victim::ALL.map(|victim| (phase, victim)));
    all.filter(|(phase, victim)| victim.is_at(*phase)).collect()
}

/// What became of a round.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Whether there was a victim.
    pub struck: bool,
    /// What the call was answered.
    answer: String,
    lies: Vec<String>,
    left: Vec<String>,
    /// What containerd and the shim have logged of what is left.
    told: Vec<String>,
    /// Why the next pod did not work, if so.
    next: Option<String>,
}

impl Seen {
    /// Whether all is as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.lies.is_empty() && self.left.is_empty() && self.next.is_none()
    }

    /// The cell of a table.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut words = vec![self.answer.clone()];
        if !self.struck {
            words.push("it was gone before".to_owned());
        }
        words.extend(self.lies.iter().map(|lie| format!("**{lie}**")));
        if !self.left.is_empty() {
            words.push(format!("**left: {}**", self.left.join(", ")));
        }
        if self.next.is_some() {
            words.push("**the next one fails**".to_owned());
        }
        words.retain(|word| !word.is_empty());
        words.join("; ")
    }
}

/// What a call takes at the most on an idle machine: a delay that is as long hits its middle.
const CALL: Duration = Duration::from_millis(50);
/// A shim that containerd has lost before it was a pod's ends by itself after a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs a round.
///
/// # Errors
/// When the phase could not be reached, or the containerd is beyond use.
pub fn round(node: &Node, phase: Phase, victim: Victim, seed: &mut Seed) -> Result<Seen, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let name = format!("chaos-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let cri = node.containerd().cri()?;
    let delay = seed.delay(scaled(CALL));
    let mut seen = Seen::default();
    let mut uid = String::new();
    let pod = node
        .pod(&name)
        .config(|config| uid = config.metadata.clone().unwrap_or_default().uid);
    if phase == Phase::RunPod {
        let mut config = v1::PodSandboxConfig::default();
        drop(pod.config(|own| config = own.clone()));
        let request = v1::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: node.shim().handler().to_owned(),
        };
        let run = |limit| {
            cri.call(
                "RunPodSandbox",
                limit,
                request,
                |mut client, request| async move { client.run_pod_sandbox(request).await },
            )
            .map(drop)
        };
        amid(node, victim, delay, &mut seen, run)?;
    } else {
        let pod = pod.run()?;
        let stop = |limit| {
            let request = v1::StopPodSandboxRequest {
                pod_sandbox_id: pod.id().to_owned(),
            };
            cri.call(
                "StopPodSandbox",
                limit,
                request,
                |mut client, request| async move { client.stop_pod_sandbox(request).await },
            )
            .map(drop)
        };
        let remove = |limit| {
            let request = v1::RemovePodSandboxRequest {
                pod_sandbox_id: pod.id().to_owned(),
            };
            cri.call(
                "RemovePodSandbox",
                limit,
                request,
                |mut client, request| async move { client.remove_pod_sandbox(request).await },
            )
            .map(drop)
        };
        let container = pod.container("main").command(&["sleep", "600"]);
        if phase == Phase::CreateContainer {
            let create = |_| container.create().map(drop);
            amid(node, victim, delay, &mut seen, create)?;
        } else {
            let container = container.create()?;
            if phase == Phase::StartContainer {
                let start = |limit| container.start_within(limit);
                amid(node, victim, delay, &mut seen, start)?;
            } else {
                container.start()?;
            }
            match phase {
                Phase::Running => {
                    amid(node, victim, delay, &mut seen, |_| Ok::<(), Error>(()))?;
                    let lives = || container.exec(&["true"]).is_ok();
                    if victim == Victim::Containerd && (pod.state()? != READY || !lives()) {
                        seen.lies.push("the pod did not live on".to_owned());
                    }
                }
                Phase::StopPod => amid(node, victim, delay, &mut seen, stop)?,
                Phase::RemovePod => {
                    pod.stop()?;
                    amid(node, victim, delay, &mut seen, remove)?;
                }
                _ => {}
            }
        }
        let is_dead = seen.struck && matches!(victim, Victim::Shim | Victim::Holder);
        let is_ready = || pod.state().is_ok_and(|state| state == READY);
        if is_dead && wait::until_true("its end to be told", SOON, || !is_ready()).is_err() {
            let lie = format!("the pod is ready without its {}", victim.name());
            seen.lies.push(lie);
        }
    }
    clean(cri, &uid)?;
    let _ = wait::until_true("clean-up", PATIENCE, || {
        seen.left = left(node);
        seen.left.is_empty()
    });
    if phase == Phase::RunPod && matches!(victim, Victim::Containerd | Victim::Client) {
        forget_networks(node)?;
        forget_sockets(node);
    }
    seen.told = told(node, &seen.left);
    // A containerd that is killed while it makes a snapshot has renamed its folder, and not noted that the number is taken: it
    // answers the next one "snapshots/N: file exists", and removes that folder. The kubelet tries again.
    let _ = wait::until_true("the next pod", SOON, || {
        seen.next = next(node, &name).err().map(|error| error.to_string());
        seen.next.is_none() || victim != Victim::Containerd
    });
    Ok(seen)
}

/// The lines of the log with the ids of what is left, but for what containerd says every second.
fn told(node: &Node, left: &[String]) -> Vec<String> {
    let ids: Vec<_> = left
        .iter()
        .filter_map(|path| path.rsplit('/').next())
        .collect();
    let log = node.containerd().log();
    let is_of = |line: &&str| {
        let often = line.contains("StatsCollector") || line.contains("Metrics");
        !often && ids.iter().any(|id| line.contains(id))
    };
    log.lines().filter(is_of).map(str::to_owned).collect()
}

const READY: &str = "SANDBOX_READY";

/// Makes the call, and strikes amid it. Whose shim or containerd is gone may be told so, and asks again.
fn amid<E: fmt::Display + Send>(
    node: &Node,
    victim: Victim,
    delay: Duration,
    seen: &mut Seen,
    call: impl FnOnce(Duration) -> Result<(), E> + Send,
) -> Result<(), Error> {
    let limit = match victim {
        Victim::Client => delay.max(Duration::from_millis(1)),
        _ => cri::LIMIT,
    };
    let (answer, struck) = thread::scope(|scope| {
        let call = scope.spawn(|| call(limit));
        thread::sleep(delay);
        let struck = strike(node, victim, || !call.is_finished());
        let answer = call.join().map_err(|_| "the call panicked");
        answer.map(|answer| (answer, struck))
    })?;
    seen.struck = struck?;
    seen.answer = match answer {
        Ok(()) => "done".to_owned(),
        Err(_) => "error".to_owned(),
    };
    if victim == Victim::Client {
        seen.struck = seen.answer == "error";
    }
    Ok(())
}

fn is_holder(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "podhook-pause\n")
}

/// Kills it, if it is there while the call is under way, or now.
fn strike(node: &Node, victim: Victim, under_way: impl Fn() -> bool) -> Result<bool, Error> {
    match victim {
        Victim::Client => return Ok(true),
        Victim::Containerd => {
            node.containerd().crash()?;
            return Ok(true);
        }
        Victim::Shim | Victim::Holder => {}
    }
    loop {
        let was_under_way = under_way();
        for shim in remains::shims(&node.containerd().address()) {
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
        if !was_under_way {
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

/// As the kubelet does, again and again.
fn clean(cri: &Cri, uid: &str) -> Result<(), Error> {
    let mut last = String::new();
    let done = wait::until_true("the pod to be removed", PATIENCE, || {
        let Ok(pods) = pods(cri, uid) else {
            return false;
        };
        for pod in &pods {
            let pod_sandbox_id = pod.id.clone();
            let stopped = cri.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id });
            let pod_sandbox_id = pod.id.clone();
            let request = v1::RemovePodSandboxRequest { pod_sandbox_id };
            let removed = stopped.and_then(|_| cri.remove_pod_sandbox(request));
            if let Err(error) = removed {
                last = error.to_string();
            }
        }
        pods.is_empty()
    });
    Ok(done.map_err(|error| format!("{error}: {last}"))?)
}

/// A containerd that is killed, or whose client gives up, after it made a pod's network namespace and before it has noted that,
/// never removes it, whatever the pod's runtime is. There is no pod now that has one. Where the call that was given up is not at
/// its end yet, containerd may be removing it at this moment.
fn forget_networks(node: &Node) -> Result<(), Error> {
    let state = node.containerd().dir().join("state");
    let folder = |place: &Path| place.parent()?.file_name().map(|name| name == "netns");
    let mounts = remains::mounts(&state).into_iter();
    for place in mounts.filter(|place| folder(place) == Some(true)) {
        match umount2(&place, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        match fs::remove_file(&place) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// For a `start` that it has killed itself, since its client has given up, containerd calls nothing: the name of its socket
/// stays.
fn forget_sockets(node: &Node) {
    let log = node.containerd().log();
    let ids: BTreeSet<_> = log
        .split("podsandboxid=")
        .skip(1)
        .filter_map(|rest| rest.get(..64))
        .collect();
    for id in ids {
        let key = ("k8s.io".to_owned(), id.to_owned());
        remains::remove_sockets(&node.containerd().address(), &key);
    }
}

/// Shims, bundles, mounts, cgroups: there is no pod now that has any.
fn left(node: &Node) -> Vec<String> {
    let containerd = node.containerd();
    let shims = remains::shims(&containerd.address()).into_iter();
    let mut left: Vec<_> = shims.map(|shim| format!("process {}", shim.pid)).collect();
    let bundles = containerd.sandbox_bundle("k8s.io", "");
    let entries = fs::read_dir(&bundles).into_iter().flatten().flatten();
    left.extend(entries.map(|entry| format!("bundle {}", entry.path().display())));
    let mounts = remains::mounts(&bundles).into_iter();
    left.extend(mounts.map(|mount| format!("mount {}", mount.display())));
    let parent = containerd.id();
    let cgroups = remains::cgroups(parent).into_iter();
    let cgroups = cgroups.flat_map(|cgroup| remains::tree(&cgroup));
    let own = cgroups.filter(|cgroup| cgroup.file_name().is_some_and(|name| name != parent));
    left.extend(own.map(|cgroup| format!("cgroup {}", cgroup.display())));
    left
}

/// The next pod lives as if nothing had been.
fn next(node: &Node, name: &str) -> Result<(), Error> {
    let pod = node.pod(name).run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    match container.exec(&["echo", "alive"])?.as_str() {
        "alive\n" => {}
        other => return Err(format!("{other:?}").into()),
    }
    pod.remove()
}
