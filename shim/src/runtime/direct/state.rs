//! runc's note of a container, `state.json`: libcontainer's `State`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use podhook_hooks::linux::process::{Stat, read_stat};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Unfit;
use crate::cgroup::Noted;
use crate::error::Error;
use crate::host::pidfd;

const FILE: &str = "state.json";
/// Why Delete is the program's with the systemd driver.
pub const HAS_SCOPE: &str = "its cgroups are systemd's";
/// More than a configuration with the largest seccomp profile.
const LIMIT: u64 = 4 << 20;

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
    pid: i32,
    start: u64,
    pub cgroups: Noted,
    config: Config,
    has_rdt_group: bool,
}

/// The folder of a container below the runtime's root.
///
/// # Errors
/// Where it is none, or a link.
pub fn folder(path: &Path) -> Result<OwnedFd, Unfit> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|e| Error::io("open", path)(e.into()).into())
}

impl State {
    /// That of container `id`, in its `folder`.
    ///
    /// # Errors
    /// Where it cannot be read, or is not wholly understood, or the container is one for which runc does more.
    pub fn read(folder: &OwnedFd, id: &str) -> Result<Self, Unfit> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(folder.as_fd(), FILE, flags, Mode::empty());
        let file = File::from(file.map_err(|e| Error::io("open", FILE)(e.into()))?);
        let mut text = Vec::new();
        let read = file.take(LIMIT).read_to_end(&mut text);
        read.map_err(Error::io("read", FILE))?;
        Self::parse(&text, id)
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
            pid: noting.init_process_pid,
            start: noting.init_process_start,
            cgroups: cgroups.ok_or(Unfit::Is("its cgroups are not where they are looked for"))?,
            has_rdt_group: has_rdt_path || noting.config.has_rdt,
            config: noting.config,
        })
    }

    /// Its init, held.
    ///
    /// # Errors
    /// Where that has ended.
    pub fn init(&self) -> Result<OwnedFd, Unfit> {
        let init = pidfd::open(self.pid)?;
        match self.is_alive() {
            true => Ok(init),
            false => Err(Unfit::Is("its init has ended")),
        }
    }

    /// Whether init is alive, as runc sees it.
    pub fn is_alive(&self) -> bool {
        let Ok(text) = read_stat(self.pid) else {
            return false;
        };
        let stat = Stat::parse(&text);
        stat.is_some_and(|stat| !stat.has_ended() && stat.field(22) == Some(self.start))
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
            Some("it may have an Intel RDT group")
        } else if self.config.has_poststop {
            Some("it has a poststop hook")
        } else if !self.config.has_pid_namespace {
            Some("it has no pid namespace of its own")
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
