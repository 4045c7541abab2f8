//! The kubelet: its configuration, its cgroups and its view of the file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::Error;
use super::control_plane::{self, Plan};
use super::daemon::Daemon;
use super::error::io_error;
use crate::command::stdout_of;
use crate::containerd::Containerd;
use crate::containerd::remains;
use crate::cri::{Cri, v1};
use crate::hierarchy;

const PORT: u16 = 10250;

/// What a kubelet has fixed paths for is private: its links to the containers' logs and the sockets of device plugins.
/// The mounts of volumes, which are below its own folder, are the node's: containerd must see them.
const PRIVATE: &str = r#"
set -e
for folder in log lib; do
    mount --make-private "$(findmnt --noheadings --output TARGET --target /var/$folder)"
    mount --bind "$1/var/$folder" "/var/$folder"
done
shift
exec "$@"
"#;

/// Makes what the kubelet needs, once.
pub(super) fn prepare(plan: Plan<'_>, containerd: &Containerd) -> Result<(), Error> {
    let root = root(plan.dir);
    for folder in [
        "kubelet", "static", "pod-logs", "plugins", "var/log", "var/lib",
    ] {
        let folder = plan.dir.join(folder);
        fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
    }
    // A mount of its own, so that it can be shared between its mount namespace and the node's whatever holds for the rest.
    let text = root.to_string_lossy();
    stdout_of("mount", &["--bind", &text, &text])?;
    stdout_of("mount", &["--make-shared", &text])?;
    if hierarchy::is_v2() {
        enable_controllers()?;
    }
    for hierarchy in remains::cgroups("") {
        let own = hierarchy.join(containerd.id());
        if !own.exists() {
            fs::create_dir(&own).map_err(io_error("make", &own))?;
        }
    }
    Ok(())
}

/// systemd enables those of cgroup v2 that one of its units needs; the kubelet wants all in its cgroup.
fn enable_controllers() -> Result<(), Error> {
    let root = hierarchy::of("");
    let (all, enabled) = (
        root.join("cgroup.controllers"),
        root.join("cgroup.subtree_control"),
    );
    let all = fs::read_to_string(&all).map_err(io_error("read", &all))?;
    for controller in all.split_whitespace() {
        let written = fs::write(&enabled, format!("+{controller}"));
        written.map_err(io_error("write", &enabled))?;
    }
    Ok(())
}

/// What the kubelet thinks of the node's memory.
#[derive(Debug, Clone, Copy)]
pub(super) enum Memory {
    Enough,
    /// Whatever there is, it is too little: the kubelet evicts.
    Short,
}

/// Starts it, also again.
pub(super) fn start(
    plan: Plan<'_>,
    containerd: &Containerd,
    daemon: &Daemon,
    memory: Memory,
) -> Result<(), Error> {
    let path = config(plan.dir);
    let written = fs::write(&path, render(plan, containerd, memory).to_string());
    written.map_err(io_error("write", &path))?;
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--propagation",
            "unchanged",
            "sh",
            "-c",
            PRIVATE,
            "sh",
        ])
        .arg(plan.dir)
        .arg(plan.version.program("kubelet")?)
        .arg(format!("--config={}", config(plan.dir).display()))
        .arg(format!(
            "--kubeconfig={}",
            plan.identity.kubeconfig.display()
        ))
        .arg(format!("--root-dir={}", root(plan.dir).display()))
        .arg(format!("--cert-dir={}", plan.dir.join("pki").display()))
        .arg(format!("--hostname-override={}", containerd.id()))
        .arg(format!("--node-ip={}", plan.address));
    daemon.start(command, plan.dir)
}

/// Removes the sandboxes that have ended, as the kubelet does within some minutes: till then containerd keeps the mount
/// of a pod's user namespace.
pub(super) fn remove_ended_sandboxes(containerd: &Containerd) -> Result<(), Error> {
    let cri = Cri::connect(&containerd.address())?;
    let all = cri.list_pod_sandbox(v1::ListPodSandboxRequest::default())?;
    let ready = v1::PodSandboxState::SandboxReady as i32;
    for sandbox in all.items.into_iter().filter(|item| item.state != ready) {
        cri.remove_pod_sandbox(v1::RemovePodSandboxRequest {
            pod_sandbox_id: sandbox.id,
        })?;
    }
    Ok(())
}

/// Where a manifest becomes a static pod.
pub(super) fn static_pods(dir: &Path) -> PathBuf {
    dir.join("static")
}

/// Its folder, with the pods' volumes.
pub(super) fn root(dir: &Path) -> PathBuf {
    dir.join("kubelet")
}

fn config(dir: &Path) -> PathBuf {
    dir.join("kubelet.json")
}

fn render(plan: Plan<'_>, containerd: &Containerd, memory: Memory) -> Value {
    let Plan {
        dir,
        address,
        identity,
        ..
    } = plan;
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "port": PORT,
        "readOnlyPort": 0,
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": false},
            "x509": {"clientCAFile": identity.certificate},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": identity.certificate,
        "tlsPrivateKeyFile": identity.key,
        "containerRuntimeEndpoint": format!("unix://{}", containerd.address().display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", containerd.id()),
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        // Lowering it takes a capability that root may lack.
        "oomScoreAdj": 0,
        // The machine's disk may be as full as it is.
        "evictionHard": {"memory.available": "1Mi"},
        "imageMinimumGCAge": "24h",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "makeIPTablesUtilChains": false,
        "podLogsDir": dir.join("pod-logs"),
        "staticPodPath": static_pods(dir),
        "fileCheckFrequency": "1s",
        "volumePluginDir": dir.join("plugins"),
        "registerNode": true,
        "serializeImagePulls": false,
        "maxPods": 200,
        // Nobody answers there. Without an address each pod's events complain of that.
        "clusterDNS": [address],
        "clusterDomain": "cluster.local",
        // An emptyDir over its limit is noticed within seconds, and not within a minute.
        "volumeStatsAggPeriod": "5s",
        "featureGates": control_plane::gates(),
    });
    if matches!(memory, Memory::Short) {
        config["evictionSoft"] = json!({"memory.available": "100Ti"});
        config["evictionSoftGracePeriod"] = json!({"memory.available": "2s"});
        config["evictionMaxPodGracePeriod"] = json!(600);
    }
    config
}
