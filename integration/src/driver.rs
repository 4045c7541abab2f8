//! The OCI runtime and the cgroup driver of a run's containers, where they are not runc and cgroupfs:
//! `PODHOOK_OCI_RUNTIME=crun`, `PODHOOK_CGROUP_DRIVER=systemd`.
//!
//! For the shims that take `runc.v1.Options`: `runc` and `podhook`.

use std::env;
use std::path::PathBuf;

use crate::containerd::remains::{self, Key};
use crate::shim::ShimKind;

/// The slice that every scope of a test is in; one of its own would stay behind.
const SLICE: &str = "system.slice";

/// Whether systemd makes the containers' cgroups.
#[must_use]
pub fn is_systemd() -> bool {
    env::var("PODHOOK_CGROUP_DRIVER").is_ok_and(|driver| driver == "systemd")
}

/// The OCI runtime, if it is not the shim's default.
#[must_use]
pub fn oci_runtime() -> Option<String> {
    env::var("PODHOOK_OCI_RUNTIME").ok()
}

/// Whether the shim must be told anything.
pub(crate) fn has_options() -> bool {
    is_systemd() || oci_runtime().is_some()
}

/// The options of a handler in containerd's configuration, below the table of that handler.
pub(crate) fn options(plugin: &str, kind: ShimKind) -> String {
    if !has_options() || kind == ShimKind::PodhookV1 {
        return String::new();
    }
    format!(
        "[plugins.\"{plugin}\".containerd.runtimes.{kind}.options]\n{}",
        option_lines()
    )
}

/// The lines of that table.
pub(crate) fn option_lines() -> String {
    let mut text = String::new();
    if is_systemd() {
        text += "SystemdCgroup = true\n";
    }
    if let Some(binary) = oci_runtime() {
        text += &format!("BinaryName = \"{binary}\"\n");
    }
    text
}

/// The flags of `ctr run` for a container of `instance`.
pub(crate) fn ctr_flags(instance: &str, id: &str) -> Vec<String> {
    let mut flags = Vec::new();
    if is_systemd() {
        flags.extend(["--runc-systemd-cgroup", "--cgroup"].map(str::to_owned));
        flags.push(format!("{SLICE}:{instance}:{id}"));
    }
    if let Some(binary) = oci_runtime() {
        flags.extend(["--runc-binary".to_owned(), binary]);
    }
    flags
}

/// The `cgroup_parent` of an instance's pods.
pub(crate) fn pod_parent(instance: &str) -> String {
    if is_systemd() {
        SLICE.to_owned()
    } else {
        format!("/{instance}")
    }
}

/// The names a container's cgroup can have.
pub(crate) fn cgroup_names(instance: &str, (namespace, id): &Key) -> Vec<String> {
    vec![
        format!("{namespace}/{id}"),
        format!("{instance}/{id}"),
        format!("{SLICE}/{instance}-{id}.scope"),
        format!("{SLICE}/cri-containerd-{id}.scope"),
    ]
}

/// The cgroups of a container of `instance` in all hierarchies.
pub(crate) fn cgroups(instance: &str, key: &Key) -> Vec<PathBuf> {
    let names = cgroup_names(instance, key);
    let mut found: Vec<_> = names
        .iter()
        .flat_map(|name| remains::cgroups(name))
        .collect();
    found.sort();
    found.dedup();
    found
}
