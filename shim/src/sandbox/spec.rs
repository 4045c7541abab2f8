//! The pod in the words of the OCI specification: for NRI plugins, `crictl inspectp`, and the verb `delete`, which reads
//! it in the bundle.

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use serde_json::{Map, Value, json};

use super::config::PodSandboxConfig;
use super::pinned::{self, Pinned};

/// As containerd names the specification in an `Any`.
const TYPE_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// What the names of systemd's cgroups end with that have others below them.
const SLICE: &str = ".slice";

/// `linux.cgroupsPath` of the holder, as CRI makes that of a pause container, and whether systemd makes the cgroup.
pub fn cgroups_path(config: &PodSandboxConfig, namespace: &str, id: &str) -> (String, bool) {
    match config.cgroup_parent() {
        "" => (format!("/{namespace}/{id}"), false),
        parent => {
            let base = parent
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default();
            match base.ends_with(SLICE) {
                true => (format!("{base}:cri-containerd:{id}"), true),
                false => (format!("{}/{id}", parent.trim_end_matches('/')), false),
            }
        }
    }
}

/// The specification; with the paths of the namespaces that are pinned, as they are once the pod is started.
pub fn spec(
    config: &PodSandboxConfig,
    id: &str,
    network: &str,
    cgroups_path: &str,
    pinned: &Pinned,
) -> Value {
    let options = config.namespaces();
    let mut namespaces = vec![json!({"type": "mount"})];
    namespaces.extend(pinned::kinds(options).map(|kind| match pinned.path(kind) {
        Some(path) => json!({"type": kind, "path": path}),
        None => json!({"type": kind}),
    }));
    if !network.is_empty() {
        namespaces.push(json!({"type": "network", "path": network}));
    }
    let linux = config.linux.as_ref();
    let maps = |list: &[super::config::IdMapping]| -> Value {
        let map = |map: &super::config::IdMapping| json!({"containerID": map.container_id, "hostID": map.host_id, "size": map.length});
        list.iter().map(map).collect()
    };
    let mut linux = json!({
        "namespaces": namespaces,
        "cgroupsPath": cgroups_path,
        "sysctl": linux.map(|linux| &linux.sysctls),
    });
    if let (Some(users), Value::Object(linux)) = (options.users(), &mut linux) {
        linux.insert("uidMappings".to_owned(), maps(&users.uids));
        linux.insert("gidMappings".to_owned(), maps(&users.gids));
    }
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 65535, "gid": 65535}, "args": ["/pause"], "cwd": "/",
            "noNewPrivileges": true, "oomScoreAdj": -998,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": config.hostname,
        "annotations": annotations(config, id),
        "linux": linux,
    })
}

/// The pod's own, and those by which CRI tells what it is.
fn annotations(config: &PodSandboxConfig, id: &str) -> Map<String, Value> {
    let metadata = config.metadata.clone().unwrap_or_default();
    let own = config
        .annotations
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)));
    let cri = [
        ("container-type", "sandbox"),
        ("sandbox-id", id),
        ("sandbox-name", &metadata.name),
        ("sandbox-namespace", &metadata.namespace),
        ("sandbox-uid", &metadata.uid),
        ("sandbox-log-directory", &config.log_directory),
    ]
    .map(|(key, value)| (format!("io.kubernetes.cri.{key}"), json!(value)));
    own.chain(cri).collect()
}

/// The specification as containerd keeps it.
pub fn as_any(spec: &Value) -> Any {
    Any {
        type_url: TYPE_URL.to_owned(),
        value: spec.to_string().into_bytes(),
        ..Any::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::LinuxPodSandboxConfig;
    use super::*;

    #[test]
    fn the_cgroup_is_where_cri_puts_a_pause_container() {
        let path = |parent: &str| {
            let config = PodSandboxConfig {
                linux: Some(LinuxPodSandboxConfig {
                    cgroup_parent: parent.to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let (path, systemd) = cgroups_path(&config, "k8s.io", "s1");
            format!("{path} {systemd}")
        };
        assert_eq!(path(""), "/k8s.io/s1 false");
        assert_eq!(path("/kubepods/pod1"), "/kubepods/pod1/s1 false");
        assert_eq!(
            path("/kubepods.slice/kubepods-pod1.slice"),
            "kubepods-pod1.slice:cri-containerd:s1 true"
        );
    }
}
