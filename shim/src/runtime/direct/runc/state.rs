//! runc's note of a container, `state.json`: libcontainer's `State`.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::cgroup::Noted;
use crate::error::Error;
use crate::host::pidfd;
use crate::runtime::direct::folder::Folder;
use crate::runtime::direct::init::Init;
use crate::runtime::direct::{HAS_POSTSTOP, HAS_RDT_GROUP, HAS_SCOPE, NO_PID_NAMESPACE, Unfit};

const FILE: &str = "state.json";

/// All that runc 1.1 to 1.5 note; with another field it is another program's, or of a version that may do more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noting {
    id: String,
    init_process_pid: i32,
    init_process_start: u64,
    #[serde(rename = "created")]
    _created: IgnoredAny,
    config: Config,
    #[serde(default)]
    rootless: bool,
    cgroup_paths: BTreeMap<String, PathBuf>,
    #[serde(rename = "namespace_paths")]
    _namespace_paths: IgnoredAny,
    #[serde(rename = "external_descriptors", default)]
    _external_descriptors: IgnoredAny,
    #[serde(default)]
    intel_rdt_path: String,
    #[serde(default)]
    intel_rdt_mon_path: String,
}

/// What is known of a container that runc has made.
#[derive(Debug)]
pub struct State {
    pub init: Init,
    pub cgroups: Noted,
    config: Config,
    has_rdt_group: bool,
}

impl State {
    /// That of container `id`, in its `folder`.
    ///
    /// # Errors
    /// Where it cannot be read, or is not wholly understood, or the container is one for which runc does more.
    pub fn read(folder: &Folder, id: &str) -> Result<Self, Unfit> {
        Self::parse(&folder.read(FILE)?, id)
    }

    pub(super) fn parse(text: &[u8], id: &str) -> Result<Self, Unfit> {
        let noting: Noting =
            serde_json::from_slice(text).map_err(Error::failed("parse state.json"))?;
        if noting.id != id {
            return Err(Unfit::Is("the state is another container's"));
        }
        if noting.rootless || noting.config.rootless || noting.config.cgroups.rootless {
            return Err(Unfit::Is("the container is of a runtime without root"));
        }
        let cgroups = Noted::new(noting.cgroup_paths);
        let has_rdt_path = [noting.intel_rdt_path, noting.intel_rdt_mon_path]
            .iter()
            .any(|path| !path.is_empty());
        Ok(Self {
            init: Init {
                pid: noting.init_process_pid,
                start: noting.init_process_start,
            },
            cgroups: cgroups.ok_or(Unfit::Is("its cgroups are not where they are looked for"))?,
            has_rdt_group: has_rdt_path || noting.config.has_rdt,
            config: noting.config,
        })
    }

    /// Its init, held.
    ///
    /// # Errors
    /// Where that has ended.
    pub fn held_init(&self) -> Result<OwnedFd, Unfit> {
        let init = pidfd::open(self.init.pid)?;
        match self.init.is_alive() {
            true => Ok(init),
            false => Err(Unfit::Is("its init has ended")),
        }
    }

    /// Whether it is paused.
    ///
    /// # Errors
    /// Where that cannot be read.
    pub fn is_paused(&self) -> Result<bool, Unfit> {
        self.cgroups.is_frozen().map_err(|e| Error::lower(e).into())
    }

    /// What has to be done for it at its end besides the removal of its cgroups and its state, if anything.
    pub fn to_do_at_end(&self) -> Option<&'static str> {
        if self.config.cgroups.systemd {
            Some(HAS_SCOPE)
        } else if self.has_rdt_group {
            Some(HAS_RDT_GROUP)
        } else if self.config.has_poststop {
            Some(HAS_POSTSTOP)
        } else if !self.config.has_pid_namespace {
            Some(NO_PID_NAMESPACE)
        } else {
            None
        }
    }
}

/// What its configuration says that matters here.
#[derive(Debug, Default)]
struct Config {
    cgroups: Cgroups,
    rootless: bool,
    has_rdt: bool,
    has_poststop: bool,
    has_pid_namespace: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Cgroups {
    #[serde(rename = "Systemd", default)]
    systemd: bool,
    #[serde(rename = "Rootless", default)]
    rootless: bool,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

/// The other fields of libcontainer's `Config`, of runc 1.1 to 1.5.
const OTHERS: [&str; 35] = [
    "apparmor_profile",
    "capabilities",
    "devices",
    "domainname",
    "exec_cpu_affinity",
    "gid_mappings",
    "hostname",
    "io_priority",
    "labels",
    "mask_paths",
    "memory_policy",
    "mount_label",
    "mounts",
    "netDevices",
    "networks",
    "no_new_keyring",
    "no_new_privileges",
    "no_pivot_root",
    "oom_score_adj",
    "parent_death_signal",
    "personality",
    "process_label",
    "readonly_paths",
    "readonlyfs",
    "rlimits",
    "rootPropagation",
    "rootfs",
    "routes",
    "scheduler",
    "seccomp",
    "sysctl",
    "time_offsets",
    "uid_mappings",
    "umask",
    "version",
];

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Config;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a configuration of libcontainer")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Config, A::Error> {
                let mut config = Config::default();
                let (mut has_cgroups, mut has_namespaces) = (false, false);
                while let Some(name) = fields.next_key::<String>()? {
                    match &*name {
                        "cgroups" => {
                            config.cgroups = fields.next_value()?;
                            has_cgroups = true;
                        }
                        "namespaces" => {
                            let all: Vec<Namespace> = fields.next_value()?;
                            let own = |it: &Namespace| it.kind == "NEWPID" && it.path.is_empty();
                            config.has_pid_namespace = all.iter().any(own);
                            has_namespaces = true;
                        }
                        "Hooks" => {
                            type Hooks = BTreeMap<String, Option<Vec<IgnoredAny>>>;
                            let hooks: Option<Hooks> = fields.next_value()?;
                            let poststop = hooks.unwrap_or_default().remove("poststop").flatten();
                            config.has_poststop = poststop.is_some_and(|all| !all.is_empty());
                        }
                        "intel_rdt" => {
                            config.has_rdt = fields.next_value::<Option<IgnoredAny>>()?.is_some()
                        }
                        "rootless_euid" | "rootless_cgroups" => {
                            config.rootless |= fields.next_value::<bool>()?
                        }
                        other if OTHERS.contains(&other) => {
                            fields.next_value::<IgnoredAny>().map(drop)?
                        }
                        other => return Err(de::Error::unknown_field(other, &[])),
                    }
                }
                match has_cgroups && has_namespaces {
                    true => Ok(config),
                    false => Err(de::Error::missing_field("cgroups or namespaces")),
                }
            }
        }

        deserializer.deserialize_map(Fields)
    }
}
