//! What CRI tells of a pod.

use std::collections::BTreeMap;

use containerd_shim_protos::protobuf::well_known_types::any::Any;

use super::wire::{Field, Message, message};
use crate::error::{Error, Result};

const NAME: &str = "runtime.v1.PodSandboxConfig";

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

message! {
    PodSandboxConfig {
        1 metadata: Option<PodSandboxMetadata>,
        2 hostname: String,
        3 log_directory: String,
        4 dns_config: Option<DnsConfig>,
        5 port_mappings: Vec<PortMapping>,
        6 labels: BTreeMap<String, String>,
        7 annotations: BTreeMap<String, String>,
        8 linux: Option<LinuxPodSandboxConfig>,
    }
    PodSandboxMetadata {
        1 name: String,
        2 uid: String,
        3 namespace: String,
        4 attempt: u32,
    }
    DnsConfig {
        1 servers: Vec<String>,
        2 searches: Vec<String>,
        3 options: Vec<String>,
    }
    PortMapping {
        1 protocol: i32,
        2 container_port: i32,
        3 host_port: i32,
        4 host_ip: String,
    }
    LinuxPodSandboxConfig {
        1 cgroup_parent: String,
        2 security_context: Option<SecurityContext>,
        3 sysctls: BTreeMap<String, String>,
        4 overhead: Option<Resources>,
        5 resources: Option<Resources>,
    }
    SecurityContext {
        1 namespace_options: Option<NamespaceOption>,
        2 selinux_options: Option<SelinuxOption>,
        3 run_as_user: Option<Int64Value>,
        4 readonly_rootfs: bool,
        6 privileged: bool,
        8 run_as_group: Option<Int64Value>,
        10 apparmor: Option<SecurityProfile>,
    }
    SecurityProfile {
        1 profile_type: i32,
        2 localhost_ref: String,
    }
    NamespaceOption {
        1 network: i32,
        2 pid: i32,
        3 ipc: i32,
        4 target_id: String,
        5 userns_options: Option<UserNamespace>,
    }
    UserNamespace {
        1 mode: i32,
        2 uids: Vec<IdMapping>,
        3 gids: Vec<IdMapping>,
    }
    IdMapping {
        1 host_id: u32,
        2 container_id: u32,
        3 length: u32,
    }
    SelinuxOption {
        1 user: String,
        2 role: String,
        3 r#type: String,
        4 level: String,
    }
    Int64Value {
        1 value: i64,
    }
    Resources {
        1 cpu_period: i64,
        2 cpu_quota: i64,
        3 cpu_shares: i64,
        4 memory_limit_in_bytes: i64,
        5 oom_score_adj: i64,
        6 cpuset_cpus: String,
        7 cpuset_mems: String,
        9 unified: BTreeMap<String, String>,
        10 memory_swap_limit_in_bytes: i64,
    }
}

/// `NamespaceMode`.
const POD: i32 = 0;
const NODE: i32 = 2;

impl PodSandboxConfig {
    /// Decodes the options of `CreateSandbox`.
    pub fn decode(options: Option<&Any>) -> Result<Self> {
        let options = options.filter(|any| any.type_url.rsplit('/').next() == Some(NAME));
        let options = options.ok_or_else(|| {
            Error::InvalidArgument(format!("a sandbox without {NAME}: only CRI makes one"))
        })?;
        let config = Self::parse(&options.value)
            .map_err(|e| Error::InvalidArgument(format!("{}: {e}", options.type_url)))?;
        if let Some(users) = &config.namespaces().userns_options {
            users.check().map_err(|e| {
                Error::InvalidArgument(format!("user namespace configuration: {e}"))
            })?;
        }
        Ok(config)
    }

    pub fn cgroup_parent(&self) -> &str {
        let linux = self.linux.as_ref();
        linux.map_or("", |linux| linux.cgroup_parent.as_str())
    }

    pub fn security(&self) -> Option<&SecurityContext> {
        self.linux.as_ref()?.security_context.as_ref()
    }

    pub fn namespaces(&self) -> &NamespaceOption {
        static DEFAULT: NamespaceOption = NamespaceOption {
            network: POD,
            pid: POD,
            ipc: POD,
            target_id: String::new(),
            userns_options: None,
        };
        let security = self.security();
        let given = security.and_then(|security| security.namespace_options.as_ref());
        given.unwrap_or(&DEFAULT)
    }
}

impl NamespaceOption {
    pub fn host_network(&self) -> bool {
        self.network == NODE
    }

    pub fn host_ipc(&self) -> bool {
        self.ipc == NODE
    }

    /// Whether the pod's containers share a PID namespace, the holder's.
    pub fn shared_pid(&self) -> bool {
        self.pid == POD
    }

    /// The mappings of the pod's user namespace, where it has one.
    pub fn users(&self) -> Option<&UserNamespace> {
        self.userns_options
            .as_ref()
            .filter(|users| users.mode == POD)
    }
}

impl SecurityProfile {
    /// `ProfileType`: one that is loaded on the node, by its name.
    pub const LOCALHOST: i32 = 2;
}

impl UserNamespace {
    /// As CRI checks it for a pod with a pause container.
    fn check(&self) -> std::result::Result<(), String> {
        let mapped = !self.uids.is_empty() && !self.gids.is_empty();
        match self.mode {
            NODE if self.uids.is_empty() && self.gids.is_empty() => {}
            NODE => return Err("can't use user namespace mode NODE with mappings".to_owned()),
            POD if mapped => {}
            POD => {
                return Err(
                    "can't use user namespace mode POD without UID and GID mappings".to_owned(),
                );
            }
            other => return Err(format!("unsupported user namespace mode: {other}")),
        }
        let single = |list: &[IdMapping]| list.len() <= 1 && list.iter().all(|map| map.length > 0);
        match single(&self.uids) && single(&self.gids) {
            true => Ok(()),
            false => {
                Err("one mapping of UIDs and of GIDs is supported, not an empty one".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::protobuf::CodedOutputStream;

    use super::*;

    /// A message of fields that are texts or messages.
    fn bytes(fields: &[(u32, &[u8])]) -> Vec<u8> {
        let mut all = Vec::new();
        let mut output = CodedOutputStream::vec(&mut all);
        for (number, value) in fields {
            output.write_bytes(*number, value).unwrap();
        }
        drop(output);
        all
    }

    fn number(field: u32, value: i32) -> Vec<u8> {
        let mut all = Vec::new();
        let mut output = CodedOutputStream::vec(&mut all);
        output.write_int32(field, value).unwrap();
        drop(output);
        all
    }

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any {
            type_url: type_url.to_owned(),
            value,
            ..Any::default()
        }
    }

    #[test]
    fn a_pod_is_read_and_is_json_as_in_go() {
        let mut namespaces = number(1, NODE);
        namespaces.extend(number(2, 1));
        let linux = bytes(&[
            (1, b"/pods/p"),
            (2, &bytes(&[(1, &namespaces), (3, &number(1, 7))])),
            (3, &bytes(&[(1, b"kernel.shm_rmid_forced"), (2, b"1")])),
            (99, b"unknown"),
        ]);
        let pod = bytes(&[
            (1, &bytes(&[(1, b"web"), (3, b"default")])),
            (2, b"web-0"),
            (4, &bytes(&[(1, b"10.0.0.1"), (1, b"10.0.0.2")])),
            (7, &bytes(&[(1, b"a"), (2, b"b")])),
            (8, &linux),
        ]);
        let read = PodSandboxConfig::decode(Some(&any(NAME, pod))).unwrap();
        assert!(read.namespaces().host_network() && !read.namespaces().shared_pid());
        assert!(!read.namespaces().host_ipc() && read.namespaces().users().is_none());
        assert_eq!(read.cgroup_parent(), "/pods/p");
        let json = serde_json::to_value(&read).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "metadata": {"name": "web", "namespace": "default"}, "hostname": "web-0",
                "dns_config": {"servers": ["10.0.0.1", "10.0.0.2"]}, "annotations": {"a": "b"},
                "linux": {
                    "cgroup_parent": "/pods/p", "sysctls": {"kernel.shm_rmid_forced": "1"},
                    "security_context": {"namespace_options": {"network": 2, "pid": 1}, "run_as_user": {"value": 7}},
                },
            })
        );
    }

    #[test]
    fn a_user_namespace_is_checked_as_by_cri() {
        let map = |length| IdMapping {
            length,
            ..IdMapping::default()
        };
        let users = |mode, uids: &[IdMapping], gids: &[IdMapping]| {
            let (uids, gids) = (uids.to_vec(), gids.to_vec());
            UserNamespace { mode, uids, gids }.check().is_ok()
        };
        let one = [map(1)];
        assert!(users(POD, &one, &one) && users(NODE, &[], &[]));
        assert!(!users(POD, &one, &[]) && !users(POD, &[], &[]) && !users(NODE, &one, &one));
        assert!(!users(POD, &[map(1), map(1)], &one) && !users(POD, &[map(0)], &one));
        for mode in [1, 3] {
            assert!(!users(mode, &one, &one), "{mode}");
        }
    }

    #[test]
    fn what_is_no_pod_is_refused() {
        for wrong in [
            None,
            Some(any("", Vec::new())),
            Some(any("runtime.v1.ContainerConfig", Vec::new())),
            Some(any(NAME, vec![0x0a, 0xff])),
        ] {
            let refused = PodSandboxConfig::decode(wrong.as_ref());
            assert!(matches!(refused, Err(Error::InvalidArgument(_))));
        }
    }
}
