//! Runtime options: what containerd's configuration says about the OCI runtime, by type URL.

mod generic;

use std::fs;
use std::path::Path;

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::oci::Options as RuncOptions;
use podhook_hooks::config::{Config, DEFAULT_PATH, OciKeys, RuntimeCalls};
use serde::{Deserialize, Serialize};

use super::message_type::{RUNC, any_is};
use crate::error::{Error, Result};
use crate::host::file;
use generic::GenericOptions;

/// The options of one container. The names in JSON are those of `options.json` as the Go shim
/// writes it, so that either shim's `delete` reads the other's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// `--no-pivot` of the runtime.
    #[serde(skip_serializing_if = "is_default")]
    pub no_pivot_root: bool,
    /// `--no-new-keyring` of the runtime.
    #[serde(skip_serializing_if = "is_default")]
    pub no_new_keyring: bool,
    /// The cgroup to move the shim to.
    #[serde(skip_serializing_if = "is_default")]
    pub shim_cgroup: String,
    /// The owner of the stdio pipes.
    #[serde(skip_serializing_if = "is_default")]
    pub io_uid: u32,
    /// The group of the stdio pipes.
    #[serde(skip_serializing_if = "is_default")]
    pub io_gid: u32,
    /// The OCI runtime, `runc` where empty.
    #[serde(skip_serializing_if = "is_default")]
    pub binary_name: String,
    /// The OCI runtime's state directory.
    #[serde(skip_serializing_if = "is_default")]
    pub root: String,
    /// Whether systemd makes the cgroups.
    #[serde(skip_serializing_if = "is_default")]
    pub systemd_cgroup: bool,
    /// Where checkpoints go.
    #[serde(skip_serializing_if = "is_default")]
    pub criu_image_path: String,
    /// Where CRIU works.
    #[serde(skip_serializing_if = "is_default")]
    pub criu_work_path: String,
    /// podhook's own configuration file, where the runtime options name one.
    #[serde(skip_serializing_if = "is_default")]
    pub podhook_config: Option<String>,
    /// Whether the shim does itself what it can of the runtime's calls. Not the verb `delete`.
    #[serde(skip)]
    pub direct_calls: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The name of the options that containerd's 1.x client sends a runtime that is not called
/// `io.containerd.runc…` (`ctr run --no-pivot`, `--uidmap`). No protos crate has them.
const CREATE_OPTIONS: &str = "containerd.linux.runc.CreateOptions";

impl Options {
    /// Whether `any` is options of a type that [`Options::decode`] takes.
    pub fn are_known(any: &Any) -> bool {
        any_is::<RuncOptions>(any, RUNC) || is_generic(any) || is_create_options(any)
    }

    /// Decodes what containerd sent. No options at all are the defaults.
    pub fn decode(any: Option<&Any>) -> Result<Self> {
        let Some(any) = any else {
            return Ok(Self::default());
        };
        if any.type_url.is_empty() {
            return Ok(Self::default());
        }
        if any_is::<RuncOptions>(any, RUNC) {
            let options = RuncOptions::parse_from_bytes(&any.value).map_err(|e| {
                Error::InvalidArgument(format!("runtime options {}: {e}", any.type_url))
            })?;
            return Ok(options.into());
        }
        if is_generic(any) {
            return GenericOptions::decode(&any.value)?.try_into();
        }
        if is_create_options(any) {
            return Self::from_create_options(&any.value).map_err(|e| {
                Error::InvalidArgument(format!("runtime options {}: {e}", any.type_url))
            });
        }
        Err(Error::InvalidArgument(format!(
            "runtime options of type {:?} are not supported: expected containerd.runc.v1.Options, \
             runtimeoptions.v1.Options or {CREATE_OPTIONS}",
            any.type_url
        )))
    }

    /// What `containerd.linux.runc.CreateOptions` says of a start; its other fields are CRIU's, and of no
    /// counterpart in `containerd.runc.v1.Options`.
    fn from_create_options(bytes: &[u8]) -> protobuf::Result<Self> {
        let mut options = Self::default();
        let mut input = protobuf::CodedInputStream::from_bytes(bytes);
        while let Some(tag) = input.read_raw_tag_or_eof()? {
            match tag {
                8 => options.no_pivot_root = input.read_bool()?,
                64 => options.no_new_keyring = input.read_bool()?,
                74 => options.shim_cgroup = input.read_string()?,
                80 => options.io_uid = input.read_uint32()?,
                88 => options.io_gid = input.read_uint32()?,
                98 => options.criu_work_path = input.read_string()?,
                106 => options.criu_image_path = input.read_string()?,
                _ => protobuf::rt::skip_field_for_tag(tag, &mut input)?,
            }
        }
        Ok(options)
    }

    /// Loads the node's configuration.
    pub fn load_config(&self) -> Result<Config> {
        let path = self.podhook_config.as_deref().unwrap_or(DEFAULT_PATH);
        Config::load(Path::new(path))
            .map_err(|e| Error::InvalidArgument(format!("podhook: the node's configuration: {e}")))
    }

    /// Fills in what the node's configuration says where containerd's options are silent.
    pub fn with_defaults(mut self, node: &OciKeys) -> Self {
        if self.binary_name.is_empty() {
            self.binary_name = node.runtime.clone().unwrap_or_default();
        }
        if self.root.is_empty() {
            self.root = node
                .root
                .as_ref()
                .map(|root| root.display().to_string())
                .unwrap_or_default();
        }
        // An unset bool is false on the wire: only "true" can be told.
        self.systemd_cgroup |= node.systemd_cgroup;
        self.direct_calls = node.calls == RuntimeCalls::Direct;
        self
    }

    /// Writes `options.json` and `runtime` into the bundle, for `delete`.
    pub fn save(&self, bundle: &Path) -> Result<()> {
        let json = serde_json::to_vec(self).map_err(Error::failed("encode options.json"))?;
        file::write_private(&bundle.join("options.json"), &json)?;
        file::write_private(&bundle.join("runtime"), self.binary_name.as_bytes())
    }

    /// Reads them back. A bundle without them (a failed create) has the defaults.
    pub fn load(bundle: &Path) -> Result<Self> {
        let path = bundle.join("options.json");
        let mut options = match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(Error::failed(format!("decode {}", path.display())))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(e) => return Err(Error::io("read", path)(e)),
        };
        if let Ok(runtime) = fs::read_to_string(bundle.join("runtime")) {
            options.binary_name = runtime;
        }
        Ok(options)
    }
}

fn is_generic(any: &Any) -> bool {
    any.type_url.rsplit('/').next() == Some("runtimeoptions.v1.Options")
}

fn is_create_options(any: &Any) -> bool {
    any.type_url.rsplit('/').next() == Some(CREATE_OPTIONS)
}

impl From<RuncOptions> for Options {
    fn from(o: RuncOptions) -> Self {
        Self {
            no_pivot_root: o.no_pivot_root,
            no_new_keyring: o.no_new_keyring,
            shim_cgroup: o.shim_cgroup,
            io_uid: o.io_uid,
            io_gid: o.io_gid,
            binary_name: o.binary_name,
            root: o.root,
            systemd_cgroup: o.systemd_cgroup,
            criu_image_path: o.criu_image_path,
            criu_work_path: o.criu_work_path,
            podhook_config: None,
            direct_calls: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any {
            type_url: type_url.to_owned(),
            value,
            ..Any::default()
        }
    }

    /// `runtimeoptions.v1.Options`: 1 type_url, 2 config_path, 3 config_body.
    fn generic(path: &str, body: &str) -> Vec<u8> {
        let mut bytes = vec![10, 1, b't'];
        for (tag, text) in [(18, path), (26, body)] {
            bytes.extend([tag, u8::try_from(text.len()).unwrap()]);
            bytes.extend(text.bytes());
        }
        bytes
    }

    #[test]
    fn runc_options_are_taken_under_either_form_of_their_name() {
        let value = RuncOptions {
            binary_name: "crun".into(),
            systemd_cgroup: true,
            ..RuncOptions::default()
        }
        .write_to_bytes()
        .unwrap();
        for prefix in ["", "type.googleapis.com/"] {
            let url = format!("{prefix}containerd.runc.v1.Options");
            let options = Options::decode(Some(&any(&url, value.clone()))).unwrap();
            assert_eq!(
                (options.binary_name.as_str(), options.systemd_cgroup),
                ("crun", true)
            );
        }
    }

    #[test]
    fn toml_in_config_body_is_read_and_not_taken_for_a_cgroup_path() {
        let value = generic("", "BinaryName = \"crun\"\nSystemdCgroup = true\n");
        let options = Options::decode(Some(&any("runtimeoptions.v1.Options", value))).unwrap();
        assert_eq!(options.binary_name, "crun");
        assert!(options.systemd_cgroup && options.shim_cgroup.is_empty());
    }

    #[test]
    fn config_path_names_our_own_configuration() {
        let value = generic("/etc/podhook/other.toml", "");
        let options = Options::decode(Some(&any("runtimeoptions.v1.Options", value))).unwrap();
        assert_eq!(
            options.podhook_config.as_deref(),
            Some("/etc/podhook/other.toml")
        );
    }

    #[test]
    fn what_ctr_sends_to_a_runtime_that_is_not_called_runc_is_read() {
        // no_pivot_root, open_tcp, empty_namespaces, no_new_keyring, shim_cgroup, io_uid, io_gid, the paths of CRIU.
        let mut value = vec![
            8, 1, 16, 1, 50, 3, b'n', b'e', b't', 64, 1, 74, 2, b'/', b'c',
        ];
        value.extend([
            80, 0xa0, 0x8d, 6, 88, 5, 98, 2, b'/', b'w', 106, 2, b'/', b'i',
        ]);
        let expected = Options {
            no_pivot_root: true,
            no_new_keyring: true,
            shim_cgroup: "/c".into(),
            io_uid: 100_000,
            io_gid: 5,
            criu_work_path: "/w".into(),
            criu_image_path: "/i".into(),
            ..Options::default()
        };
        for prefix in ["", "types.containerd.io/"] {
            let any = any(
                &format!("{prefix}containerd.linux.runc.CreateOptions"),
                value.clone(),
            );
            assert!(Options::are_known(&any));
            assert_eq!(Options::decode(Some(&any)).unwrap(), expected);
        }
        let cut = any("containerd.linux.runc.CreateOptions", vec![74, 9]);
        let error = Options::decode(Some(&cut)).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
    }

    #[test]
    fn what_cannot_be_options_is_refused_by_name() {
        let error = Options::decode(Some(&any("windows.Options", Vec::new()))).unwrap_err();
        assert!(error.to_string().contains("windows.Options"), "{error}");
        let value = generic("", "Nonsense = 1\n");
        let error = Options::decode(Some(&any("runtimeoptions.v1.Options", value))).unwrap_err();
        assert!(error.to_string().contains("Nonsense"), "{error}");
        let error = Options::decode(Some(&any("runtimeoptions.v1.Options", vec![26, 200])));
        assert!(error.is_err());
        assert_eq!(Options::decode(None).unwrap(), Options::default());
    }

    #[test]
    fn options_json_is_read_as_the_go_shim_writes_it() {
        let bundle = tempfile::tempdir().unwrap();
        let json = r#"{"binary_name":"crun","root":"/r","systemd_cgroup":true,"later":1}"#;
        fs::write(bundle.path().join("options.json"), json).unwrap();
        let options = Options::load(bundle.path()).unwrap();
        assert_eq!(
            (options.root.as_str(), options.systemd_cgroup),
            ("/r", true)
        );
        fs::write(bundle.path().join("runtime"), "youki").unwrap();
        assert_eq!(Options::load(bundle.path()).unwrap().binary_name, "youki");
    }

    #[test]
    fn what_is_saved_is_loaded_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let bundle = tempfile::tempdir().unwrap();
        let options = Options {
            binary_name: "crun".into(),
            io_uid: 7,
            no_new_keyring: true,
            podhook_config: Some("/etc/podhook/other.toml".into()),
            ..Options::default()
        };
        options.save(bundle.path()).unwrap();
        assert_eq!(Options::load(bundle.path()).unwrap(), options);
        let mode = fs::metadata(bundle.path().join("options.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            Options::load(&bundle.path().join("none")).unwrap(),
            Options::default()
        );
    }
}
