//! `runtimeoptions.v1.Options`, which no protos crate has: what containerd sends a runtime that is not runc's by name.
//! Its `config_body` holds the section `[plugins.….runtimes.podhook.options]` as the operator wrote it, TOML with the
//! names of runc's options.

use containerd_shim_protos::protobuf::{self, CodedInputStream, rt};
use podhook_hooks::config::{ConfigError, Fields, read};
use podhook_hooks::lifecycle::FieldError;

use super::Options;
use crate::error::{Error, Result};

/// Where the text comes from, for errors.
const ORIGIN: &str = "containerd runtime options";

const KNOWN: &[&str] = &[
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

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GenericOptions {
    config_path: String,
    config_body: Vec<u8>,
}

impl GenericOptions {
    /// Fields 2 and 3; 1 (`type_url`) and unknown ones are passed over.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut options = Self::default();
        let mut input = CodedInputStream::from_bytes(bytes);
        let mut read = || -> protobuf::Result<()> {
            while let Some(tag) = input.read_raw_tag_or_eof()? {
                match tag {
                    18 => options.config_path = input.read_string()?,
                    26 => options.config_body = input.read_bytes()?,
                    _ => rt::skip_field_for_tag(tag, &mut input)?,
                }
            }
            Ok(())
        };
        read().map_err(|e| {
            Error::InvalidArgument(format!("runtime options runtimeoptions.v1.Options: {e}"))
        })?;
        Ok(options)
    }
}

impl TryFrom<GenericOptions> for Options {
    type Error = Error;

    /// `config_body` is the runtime's TOML section of containerd's configuration; `config_path`
    /// names podhook's own configuration, for containerd 1.6 that sends nothing else.
    fn try_from(generic: GenericOptions) -> Result<Self> {
        if generic.config_body.is_empty() {
            let podhook_config = Some(generic.config_path).filter(|path| !path.is_empty());
            return Ok(Self {
                podhook_config,
                ..Self::default()
            });
        }
        let text = std::str::from_utf8(&generic.config_body).map_err(|_| {
            Error::InvalidArgument("runtime options: the TOML is not UTF-8".to_owned())
        })?;
        from_toml(text).map_err(|e| Error::InvalidArgument(format!("runtime options: {e}")))
    }
}

fn from_toml(text: &str) -> std::result::Result<Options, ConfigError> {
    read(text, ORIGIN, KNOWN, take)
}

/// Empty strings are absent: containerd's own default section has them.
fn take(fields: &mut Fields) -> std::result::Result<Options, FieldError> {
    let mut text = |key| -> std::result::Result<String, FieldError> {
        match fields.take(key) {
            Some(at) => Ok(at.string()?.to_owned()),
            None => Ok(String::new()),
        }
    };
    let binary_name = text("BinaryName")?;
    let root = text("Root")?;
    let shim_cgroup = text("ShimCgroup")?;
    let criu_image_path = text("CriuImagePath")?;
    let criu_work_path = text("CriuWorkPath")?;
    let podhook_config = Some(text("PodhookConfig")?).filter(|path| !path.is_empty());
    let mut flag = |key| fields.take(key).map_or(Ok(false), |at| at.boolean());
    let systemd_cgroup = flag("SystemdCgroup")?;
    let no_pivot_root = flag("NoPivotRoot")?;
    let no_new_keyring = flag("NoNewKeyring")?;
    let mut id = |key| fields.take(key).map_or(Ok(0), |at| at.integer(0, u32::MAX));
    let io_uid = id("IoUid")?;
    let io_gid = id("IoGid")?;
    Ok(Options {
        no_pivot_root,
        no_new_keyring,
        shim_cgroup,
        io_uid,
        io_gid,
        binary_name,
        root,
        systemd_cgroup,
        criu_image_path,
        criu_work_path,
        podhook_config,
        direct_calls: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerds_own_default_section_is_accepted() {
        // As `containerd config default` of 1.x prints it.
        let text = r#"
            BinaryName = ""
            CriuImagePath = ""
            CriuPath = ""
            CriuWorkPath = ""
            IoGid = 0
            IoUid = 0
            NoNewKeyring = false
            NoPivotRoot = false
            Root = ""
            ShimCgroup = ""
            SystemdCgroup = false
        "#;
        assert_eq!(from_toml(text).unwrap(), Options::default());
        assert_eq!(from_toml("").unwrap(), Options::default());
        let text = "PodhookConfig = ''\nTypeUrl = 'x'\nConfigPath = '/c'";
        assert_eq!(from_toml(text).unwrap(), Options::default());
    }

    #[test]
    fn every_runtime_option_is_read() {
        let text = r#"
            BinaryName = "/usr/bin/crun"
            Root = "/run/crun"
            SystemdCgroup = true
            NoPivotRoot = true
            NoNewKeyring = true
            ShimCgroup = "/podhook"
            IoUid = 4294967295
            IoGid = 1000
            CriuImagePath = "/i"
            CriuWorkPath = "/w"
            PodhookConfig = "/etc/podhook/other.toml"
        "#;
        let expected = Options {
            binary_name: "/usr/bin/crun".to_owned(),
            root: "/run/crun".to_owned(),
            systemd_cgroup: true,
            no_pivot_root: true,
            no_new_keyring: true,
            shim_cgroup: "/podhook".to_owned(),
            io_uid: u32::MAX,
            io_gid: 1000,
            criu_image_path: "/i".to_owned(),
            criu_work_path: "/w".to_owned(),
            podhook_config: Some("/etc/podhook/other.toml".to_owned()),
            ..Options::default()
        };
        assert_eq!(from_toml(text).unwrap(), expected);
    }

    #[test]
    fn mistakes_in_the_runtime_options_are_named() {
        let table = [
            (
                "Binaryname = 'x'",
                r#"line 1: Binaryname: unknown field, did you mean "BinaryName"?"#,
            ),
            (
                "IoUid = -1",
                "line 1: IoUid: must be between 0 and 4294967295, inclusive",
            ),
            (
                "SystemdCgroup = 'true'",
                "line 1: SystemdCgroup: must be true or false",
            ),
            ("BinaryName = 1", "line 1: BinaryName: must be a string"),
        ];
        for (text, expected) in table {
            let error = from_toml(text).unwrap_err().to_string();
            assert_eq!(error, format!("containerd runtime options: {expected}"));
        }
    }
}
