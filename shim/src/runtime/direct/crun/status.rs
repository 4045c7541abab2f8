//! crun's note of a container, `status`: `libcrun_container_status_t`.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cgroup::Noted;
use crate::error::Error;
use crate::runtime::direct::folder::Folder;
use crate::runtime::direct::init::Init;
use crate::runtime::direct::{HAS_RDT_GROUP, HAS_SCOPE, Unfit};

pub const FILE: &str = "status";

/// All that crun 1.8 to 1.28 note; with another field it is another program's, or of a version that may do more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Noting {
    pid: i32,
    process_start_time: u64,
    cgroup_path: String,
    scope: String,
    /// The group in `/sys/fs/resctrl`, of 1.21.
    #[serde(default)]
    intelrdt: String,
    #[serde(rename = "rootfs")]
    _rootfs: IgnoredAny,
    systemd_cgroup: bool,
    #[serde(rename = "bundle")]
    _bundle: IgnoredAny,
    #[serde(rename = "created")]
    _created: IgnoredAny,
    #[serde(rename = "owner", default)]
    _owner: IgnoredAny,
    #[serde(rename = "detached")]
    _detached: IgnoredAny,
    #[serde(rename = "external_descriptors")]
    _external_descriptors: IgnoredAny,
}

/// What is known of a container that crun has made.
#[derive(Debug)]
pub struct Status {
    pub init: Init,
    noting: Noting,
}

impl Status {
    /// That of the container in this folder.
    ///
    /// # Errors
    /// Where it cannot be read, or is not wholly understood.
    pub fn read(folder: &Folder) -> Result<Self, Unfit> {
        Self::parse(&folder.read(FILE)?)
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, Unfit> {
        let noting: Noting =
            serde_json::from_slice(text).map_err(Error::failed("parse the status"))?;
        let init = Init {
            pid: noting.pid,
            start: noting.process_start_time,
        };
        // Of an init that ended before it was noted crun has no time.
        match init.pid > 0 && init.start > 0 {
            true => Ok(Self { init, noting }),
            false => Err(Unfit::Is("its init is not known")),
        }
    }

    /// Its cgroups.
    ///
    /// # Errors
    /// Where crun does more than remove them.
    pub fn own_cgroups(&self) -> Result<Noted, Unfit> {
        if self.noting.systemd_cgroup || !self.noting.scope.is_empty() {
            return Err(Unfit::Is(HAS_SCOPE));
        }
        if !self.noting.intelrdt.is_empty() {
            return Err(Unfit::Is(HAS_RDT_GROUP));
        }
        Noted::everywhere(&self.noting.cgroup_path)
            .ok_or(Unfit::Is("its cgroups are not where they are looked for"))
    }
}
