//! The namespaces of a pod as a client joins them that takes the paths of the answer's specification, and no pid.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::Outcome;
use podhook_integration::cri::v1;
use serde_json::{Value, json};

use super::{NOT_READY, Network, Pod, config, namespaces, own_users, said};
use crate::stage::{Failure, Stage};
use crate::{Test, tests};

pub fn tests() -> Vec<Test> {
    tests![sandbox:
        a_pod_is_joined_by_the_paths_of_its_namespaces,
        every_namespace_that_is_the_pods_own_has_its_path,
    ]
}

fn inode(path: &str) -> Result<u64, Failure> {
    Ok(fs::metadata(path)?.ino())
}

/// The paths in a started pod's specification, by the kind of namespace.
fn paths(spec: &Value) -> BTreeMap<String, String> {
    let list = spec["linux"]["namespaces"].as_array().into_iter().flatten();
    list.filter_map(|one| {
        Some((
            one["type"].as_str()?.to_owned(),
            one["path"].as_str()?.to_owned(),
        ))
    })
    .collect()
}

/// A started pod; its holder's pid, and the paths.
fn started(
    stage: &Stage,
    config: &v1::PodSandboxConfig,
    network: &str,
) -> Result<(Pod, i32, BTreeMap<String, String>), Failure> {
    let pod = Pod::of(stage)?;
    pod.create(stage, config, network)?;
    let answer = pod.start()?;
    let spec = answer.spec.into_option().ok_or("no specification")?;
    let paths = paths(&serde_json::from_slice(&spec.value)?);
    Ok((pod, i32::try_from(answer.pid)?, paths))
}

fn a_pod_is_joined_by_the_paths_of_its_namespaces(stage: &Stage) -> Outcome {
    let network = Network::new(false)?;
    let mut config = config();
    namespaces(&mut config).network = v1::NamespaceMode::Pod as i32;
    let (pod, holder, paths) = started(stage, &config, &network.path())?;
    assert_eq!(
        paths.keys().collect::<Vec<_>>(),
        ["ipc", "network", "uts"],
        "{paths:?}"
    );
    let before = ["ipc", "uts"].map(|kind| inode(&format!("/proc/{holder}/ns/{kind}")).ok());
    assert_eq!(["ipc", "uts"].map(|kind| inode(&paths[kind]).ok()), before);

    // A container of them alone.
    let mut spec = stage.spec("c1", &["sh", "-c", "hostname > /tmp/said; exec sleep 600"]);
    let list = paths
        .iter()
        .map(|(kind, path)| json!({"type": kind, "path": path}));
    spec.0["linux"]["namespaces"] = list
        .chain([json!({"type": "mount"}), json!({"type": "pid"})])
        .collect();
    if let Value::Object(spec) = &mut spec.0 {
        spec.remove("hostname");
    }
    let pid = pod.container(stage, "c1", &spec)?;
    assert_eq!(
        ["ipc", "uts"].map(|kind| inode(&format!("/proc/{pid}/ns/{kind}")).ok()),
        before
    );
    assert_eq!(said(pid, "\n")?, "web-0\n");
    pod.tasks.end("c1")?;

    // They do not need the process.
    kill(Pid::from_raw(holder), Signal::SIGKILL)?;
    pod.wait()?;
    assert_eq!(pod.state()?, NOT_READY);
    assert_eq!(["ipc", "uts"].map(|kind| inode(&paths[kind]).ok()), before);
    pod.stop()?;
    let after = ["ipc", "uts"].map(|kind| inode(&paths[kind]).ok());
    assert!(after.iter().zip(before).all(|(now, was)| *now != was));
    pod.end(stage)
}

fn every_namespace_that_is_the_pods_own_has_its_path(stage: &Stage) -> Outcome {
    let network = Network::new(true)?;
    let mut config = config();
    own_users(&mut config);
    namespaces(&mut config).network = v1::NamespaceMode::Pod as i32;
    let (pod, holder, paths) = started(stage, &config, &network.path())?;
    for kind in ["ipc", "pid", "user", "uts"] {
        let path = paths.get(kind).ok_or_else(|| format!("{kind}: no path"))?;
        assert_eq!(
            inode(path)?,
            inode(&format!("/proc/{holder}/ns/{kind}"))?,
            "{kind}"
        );
    }
    assert_eq!(paths["network"], network.path());
    pod.end(stage)?;
    fs::remove_dir_all(stage.bundle(super::ID))?;

    // Of a pod that shares the host's, none is named.
    let mut host = super::config();
    namespaces(&mut host).ipc = v1::NamespaceMode::Node as i32;
    let (pod, _, paths) = started(stage, &host, "")?;
    assert_eq!(paths, BTreeMap::new());
    pod.end(stage)
}
