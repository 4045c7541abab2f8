//! The configuration file of a private containerd.

use std::path::Path;

use super::Features;
use crate::driver;
use crate::generation::Generation;
use crate::place::Place;
use crate::shim::{self, ShimKind};

/// The pod and container annotations that reach the OCI spec. containerd matches with path.Match,
/// where `*` stops at a slash: one pattern per prefix.
const ANNOTATIONS: &str = r#"["podhook.dev/*", "lifecycle.podhook.dev/*", "io.kubernetes.*"]"#;

/// The file for the generation with everything below `dir`; `podhook` is a handler when its shim is built.
/// Pods that name no handler get the one of `default`.
pub(super) fn render(place: Place, dir: &Path, default: ShimKind, features: Features) -> String {
    let generation = place.generation;
    let runtimes = runtimes(place, dir, default);
    let sockets = sockets(generation, dir);
    let nri = nri(dir, features.nri);
    let level = if features.quiet { "warn" } else { "debug" };
    let dir = dir.display();
    let blockfile = if has_blockfile(generation) {
        format!(
            "[plugins.\"io.containerd.snapshotter.v1.blockfile\"]\nscratch_file = \"{dir}/{SCRATCH}\"\nfs_type = \"ext4\"\n"
        )
    } else {
        String::new()
    };
    let head = format!(
        r#"root = "{dir}/root"
state = "{dir}/state"
{sockets}[debug]
level = "{level}"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"
{nri}{blockfile}"#
    );
    let registry = |plugin: &str| {
        let section =
            format!("[plugins.\"{plugin}\".registry]\nconfig_path = \"{dir}/{REGISTRY_HOSTS}\"\n");
        if features.registry {
            section
        } else {
            String::new()
        }
    };
    // Without restrict_oom_score_adj every sandbox fails where lowering oom_score_adj is denied.
    let cri = r#"restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
"#;
    let cni = format!("conf_dir = \"{dir}/cni\"\n");
    if generation >= Generation::V2 {
        let registry = registry("io.containerd.cri.v1.images");
        let version = if generation >= Generation::V2_3 { 4 } else { 3 };
        format!(
            r#"version = {version}
{head}
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "localhost/pause:latest"
[plugins."io.containerd.cri.v1.runtime"]
{cri}
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
{cni}
{registry}{runtimes}"#
        )
    } else {
        let registry = registry("io.containerd.grpc.v1.cri");
        format!(
            r#"version = 2
{head}
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:latest"
{cri}
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
{cni}
{registry}{runtimes}"#
        )
    }
}

/// The folder of `config_path`.
pub(super) const REGISTRY_HOSTS: &str = "certs.d";

/// The file system that the blockfile snapshotter copies for each snapshot.
pub(super) const SCRATCH: &str = "scratch";

/// Whether it is configured: its file is for those generations whose tests have a use for it.
pub(super) fn has_blockfile(generation: Generation) -> bool {
    generation >= Generation::V2_3
}

/// The Node Resource Interface.
fn nri(dir: &Path, enabled: bool) -> String {
    let head = "[plugins.\"io.containerd.nri.v1.nri\"]\n";
    if !enabled {
        return format!("{head}disable = true\n");
    }
    let dir = dir.display();
    format!(
        "{head}disable = false\nsocket_path = \"{dir}/nri.sock\"\nplugin_path = \"{dir}/nri/plugins\"\n\
         plugin_config_path = \"{dir}/nri/conf.d\"\n"
    )
}

/// Where it listens. From version 4 of the configuration on a server is a plugin, and the ttrpc one has no address that
/// follows the other's.
fn sockets(generation: Generation, dir: &Path) -> String {
    let socket = dir.join("containerd.sock");
    let socket = socket.display();
    if generation < Generation::V2_3 {
        return format!("[grpc]\naddress = \"{socket}\"\n");
    }
    format!(
        "[plugins.\"io.containerd.server.v1.grpc\"]\naddress = \"{socket}\"\n\
         [plugins.\"io.containerd.server.v1.ttrpc\"]\naddress = \"{socket}.ttrpc\"\n"
    )
}

/// The handler of [`ShimKind::PodhookV1`] with a node configuration of the instance's own,
/// `DIR/podhook.toml`. The test writes that.
pub(crate) const CONFIGURED: &str = "podhook-configured";

/// The handler of a podhook that stands in for the original, with the option `ShimCgroup`: the cgroup with the
/// name of the instance and `-shims`. The test makes that.
pub(crate) const PLACED: &str = "podhook-placed";

/// What CRI passes on to the shim. A pod without a pause container tells its shim all of itself.
fn passed_on(kind: ShimKind, generation: Generation) -> String {
    let containers = format!("container_annotations = {ANNOTATIONS}\n");
    let pods = match kind {
        ShimKind::Pauseless if generation >= Generation::V2_4 => {
            "sandboxer = \"shim\"\ndisable_pause_image_pull = true\n".to_owned()
        }
        ShimKind::Pauseless => "sandboxer = \"shim\"\n".to_owned(),
        _ => format!("pod_annotations = {ANNOTATIONS}\n"),
    };
    pods + &containers
}

fn runtimes(place: Place, dir: &Path, default: ShimKind) -> String {
    let generation = place.generation;
    let plugin = if generation >= Generation::V2 {
        "io.containerd.cri.v1.runtime"
    } else {
        "io.containerd.grpc.v1.cri"
    };
    let podhook = shim::podhook_shim().ok();
    let mut text =
        format!("[plugins.\"{plugin}\".containerd]\ndefault_runtime_name = \"{default}\"\n");
    for kind in ShimKind::ALL {
        let (runtime_type, path) = match (kind, &podhook) {
            (ShimKind::Runc, _) => ("io.containerd.runc.v2", None),
            // CRI of 1.6 and 1.7.0 reads runtime_path and does nothing with it (containerd#8207): where
            // podhook does not stand in for the original, the path goes into runtime_type.
            (ShimKind::Podhook, Some(path))
                if generation == Generation::V1_6 && !place.stands_in() =>
            {
                (path.to_str().unwrap_or_default(), None)
            }
            (ShimKind::Podhook, Some(path)) => ("io.containerd.runc.v2", Some(path)),
            (ShimKind::PodhookV1 | ShimKind::Pauseless, Some(_)) => {
                ("io.containerd.podhook.v1", None)
            }
            (_, None) => continue,
        };
        if !kind.is_for(generation) {
            continue;
        }
        let path = path
            .map(|p| format!("runtime_path = \"{}\"\n", p.display()))
            .unwrap_or_default();
        text += &format!(
            "[plugins.\"{plugin}\".containerd.runtimes.{kind}]\nruntime_type = \"{runtime_type}\"\n{path}\
             {}",
            passed_on(kind, generation)
        );
        text += &driver::options(plugin, kind);
    }
    if place.stands_in() {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let runtime = format!("plugins.\"{plugin}\".containerd.runtimes.{PLACED}");
        text += &format!(
            "[{runtime}]\nruntime_type = \"io.containerd.runc.v2\"\n[{runtime}.options]\n\
             ShimCgroup = \"/{name}-shims\"\n{}",
            driver::option_lines()
        );
    }
    if podhook.is_some() {
        // containerd 1.6 passes on nothing but ConfigPath; later ones the whole section.
        let key = match generation {
            Generation::V1_6 => "ConfigPath",
            _ => "PodhookConfig",
        };
        let runtime = format!("plugins.\"{plugin}\".containerd.runtimes.{CONFIGURED}");
        text += &format!(
            "[{runtime}]\nruntime_type = \"io.containerd.podhook.v1\"\n\
             pod_annotations = {ANNOTATIONS}\ncontainer_annotations = {ANNOTATIONS}\n\
             [{runtime}.options]\n{key} = \"{}\"\n",
            dir.join("podhook.toml").display()
        );
    }
    text
}
