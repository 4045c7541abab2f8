//! containerd's runtime options as TOML: `runtimeoptions.v1.Options.config_body` holds the section
//! `[plugins.….runtimes.podhook.options]` as the operator wrote it, with the names of runc's options.

use std::path::PathBuf;

use super::ConfigError;
use super::node::root;
use crate::lifecycle::FieldError;
use crate::lifecycle::reader::{At, Fields};

/// `runc.v1.Options` in TOML. Empty strings are absent: containerd's own default section has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// `BinaryName`: the OCI runtime's name or path.
    pub binary_name: Option<String>,
    /// `Root`: the OCI runtime's state directory.
    pub root: Option<PathBuf>,
    /// `SystemdCgroup`.
    pub systemd_cgroup: Option<bool>,
    /// `NoPivotRoot`.
    pub no_pivot_root: bool,
    /// `NoNewKeyring`.
    pub no_new_keyring: bool,
    /// `ShimCgroup`: the cgroup the shim moves to.
    pub shim_cgroup: Option<String>,
    /// `IoUid`: owner of the container's stdio.
    pub io_uid: u32,
    /// `IoGid`: group of the container's stdio.
    pub io_gid: u32,
    /// `CriuImagePath`.
    pub criu_image_path: Option<PathBuf>,
    /// `CriuWorkPath`.
    pub criu_work_path: Option<PathBuf>,
    /// `PodhookConfig`: our configuration file, instead of the default one.
    pub podhook_config: Option<PathBuf>,
}

/// Where the text comes from, for errors.
const ORIGIN: &str = "containerd runtime options";

const KNOWN: [&str; 14] = [
    "BinaryName",
    "Root",
    "SystemdCgroup",
    "NoPivotRoot",
    "NoNewKeyring",
    "ShimCgroup",
    "IoUid",
    "IoGid",
    "CriuImagePath",
    "CriuWorkPath",
    "PodhookConfig",
    // In containerd 1.x' default section, long without effect there.
    "CriuPath",
    // containerd's own, for the choice of what it sends.
    "TypeUrl",
    "ConfigPath",
];

impl RuntimeOptions {
    /// Parses the section.
    ///
    /// # Errors
    /// What the text has that is no option, or of another type.
    pub fn from_toml(text: &str) -> Result<RuntimeOptions, ConfigError> {
        let fields = root(text, ORIGIN)?.object(&KNOWN);
        fields
            .and_then(read)
            .map_err(|field| ConfigError::field(ORIGIN, field))
    }
}

fn read(mut fields: Fields) -> Result<RuntimeOptions, FieldError> {
    let mut text = |key| {
        fields
            .take(key)
            .map(|at| string(&at))
            .transpose()
            .map(Option::flatten)
    };
    let binary_name = text("BinaryName")?;
    let root = text("Root")?.map(PathBuf::from);
    let shim_cgroup = text("ShimCgroup")?;
    let criu_image_path = text("CriuImagePath")?.map(PathBuf::from);
    let criu_work_path = text("CriuWorkPath")?.map(PathBuf::from);
    let podhook_config = text("PodhookConfig")?.map(PathBuf::from);
    let mut flag = |key| fields.take(key).map(|at| at.boolean()).transpose();
    let systemd_cgroup = flag("SystemdCgroup")?;
    let no_pivot_root = flag("NoPivotRoot")?.unwrap_or_default();
    let no_new_keyring = flag("NoNewKeyring")?.unwrap_or_default();
    let mut id = |key| {
        fields
            .take(key)
            .map(|at| at.integer(0, u32::MAX))
            .transpose()
    };
    let io_uid = id("IoUid")?.unwrap_or_default();
    let io_gid = id("IoGid")?.unwrap_or_default();
    Ok(RuntimeOptions {
        binary_name,
        root,
        systemd_cgroup,
        no_pivot_root,
        no_new_keyring,
        shim_cgroup,
        io_uid,
        io_gid,
        criu_image_path,
        criu_work_path,
        podhook_config,
    })
}

fn string(at: &At) -> Result<Option<String>, FieldError> {
    let text = at.string()?;
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
