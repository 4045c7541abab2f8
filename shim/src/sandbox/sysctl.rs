//! The pod's sysctls: those of namespaces that are its own, as every OCI runtime has them, and no other. The holder writes
//! them with the shim's rights.

use std::collections::BTreeMap;

use super::config::{NamespaceOption, PodSandboxConfig};
use crate::error::{Error, Result};

/// Those of the IPC namespace, beside `fs.mqueue.…`.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Refuses those that are not the pod's, in runc's words.
pub fn check(config: &PodSandboxConfig) -> Result<()> {
    for name in given(config).keys() {
        if let Err(reason) = allowed(name, config.namespaces()) {
            return Err(Error::InvalidArgument(format!("sysctl {name:?} {reason}")));
        }
    }
    Ok(())
}

/// The pod's, and what CRI gives every pod with a network of its own: ports from 0 and ping for all users.
pub fn all(config: &PodSandboxConfig) -> BTreeMap<String, String> {
    let mut all = given(config).clone();
    let namespaces = config.namespaces();
    if !namespaces.host_network() {
        let mut default = |name: &str, value: &str| {
            all.entry(name.to_owned())
                .or_insert_with(|| value.to_owned());
        };
        default("net.ipv4.ip_unprivileged_port_start", "0");
        if namespaces.users().is_none() {
            default("net.ipv4.ping_group_range", "0 2147483647");
        }
    }
    all
}

/// The file of one that was checked.
pub fn path(name: &str) -> String {
    format!("/proc/sys/{}", parts(name).join("/"))
}

fn given(config: &PodSandboxConfig) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    config.linux.as_ref().map_or(&NONE, |linux| &linux.sysctls)
}

/// Dots and slashes stand for each other, as in sysctl(8): the first of them is the separator.
fn parts(name: &str) -> Vec<String> {
    let slashes = name
        .find('/')
        .is_some_and(|slash| name.find('.').is_none_or(|dot| slash < dot));
    match slashes {
        true => name.split('/').map(str::to_owned).collect(),
        false => name.split('.').map(|part| part.replace('/', ".")).collect(),
    }
}

fn allowed(name: &str, namespaces: &NamespaceOption) -> std::result::Result<(), &'static str> {
    let parts = parts(name);
    if parts
        .iter()
        .any(|part| matches!(part.as_str(), "" | "." | ".."))
    {
        return Err("is not the name of one");
    }
    let dotted = parts.join(".");
    let of = |namespace: &str| parts.len() > 1 && parts.first().is_some_and(|own| own == namespace);
    if IPC.contains(&dotted.as_str()) || (of("fs") && parts.get(1).is_some_and(|p| p == "mqueue")) {
        return match namespaces.host_ipc() {
            true => Err("is not allowed in the hosts ipc namespace"),
            false => Ok(()),
        };
    }
    if of("net") {
        return match namespaces.host_network() {
            true => Err("not allowed in host network namespace"),
            false => Ok(()),
        };
    }
    // The pod has a UTS namespace where it has a network.
    match (dotted.as_str(), namespaces.host_network()) {
        ("kernel.domainname", false) => Ok(()),
        ("kernel.hostname", false) => {
            Err("is not allowed as it conflicts with the OCI \"hostname\" field")
        }
        _ if of("user") && namespaces.users().is_some() => Ok(()),
        _ => Err("is not in a separate kernel namespace"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::UserNamespace;
    use super::*;

    #[test]
    fn a_sysctl_is_written_with_either_separator() {
        for (name, file) in [
            ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            (
                "net.ipv4.conf.eth0/1.forwarding",
                "/proc/sys/net/ipv4/conf/eth0.1/forwarding",
            ),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                "/proc/sys/net/ipv4/conf/eth0.1/forwarding",
            ),
        ] {
            assert_eq!(path(name), file);
        }
    }

    #[test]
    fn only_what_is_the_pods_own_is_allowed() {
        let own = NamespaceOption::default();
        let host = NamespaceOption {
            network: 2,
            ipc: 2,
            ..Default::default()
        };
        let users = NamespaceOption {
            userns_options: Some(UserNamespace::default()),
            ..Default::default()
        };
        let kernel = Err("is not in a separate kernel namespace");
        for name in [
            "kernel.core_pattern",
            "kernel/core_pattern",
            "vm.swappiness",
            "fs.file-max",
            "fs.mqueuex.a",
            "net",
            "user.max_user_namespaces",
            "kernel.msgmax.x",
        ] {
            assert_eq!(allowed(name, &own), kernel, "{name}");
        }
        for name in [
            "net/../kernel/core_pattern",
            "net.//.kernel.core_pattern",
            "net..ipv4",
            "net/./x",
            "/net/ipv4",
            "net.",
            "",
        ] {
            assert_eq!(allowed(name, &own), Err("is not the name of one"), "{name}");
        }
        for name in ["net.ipv4.ip_forward", "net/core/somaxconn"] {
            assert_eq!(allowed(name, &own), Ok(()));
            assert_eq!(
                allowed(name, &host),
                Err("not allowed in host network namespace")
            );
        }
        for name in ["kernel.shm_rmid_forced", "kernel/sem", "fs.mqueue.msg_max"] {
            assert_eq!(allowed(name, &own), Ok(()));
            assert_eq!(
                allowed(name, &host),
                Err("is not allowed in the hosts ipc namespace")
            );
        }
        assert_eq!(allowed("kernel.domainname", &own), Ok(()));
        assert_eq!(allowed("kernel.domainname", &host), kernel);
        assert!(allowed("kernel.hostname", &own).is_err());
        assert_eq!(allowed("user.max_user_namespaces", &users), Ok(()));
    }
}
