//! A container of the sandbox: what its configuration gets of the pod, at Create and before anything reads it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use podhook_hooks::config_json::FILE_NAME;
use serde_json::{Map, Value, json};

use super::files::Files;
use crate::error::{Error, Result};
use crate::host::file;

/// What of the pod's annotations is podhook's: containerd passes on those of its `pod_annotations` alone.
const OWN: [&str; 2] = ["podhook.dev/", "lifecycle.podhook.dev/"];
const SHM: &str = "/dev/shm";

/// Adds the pod's files and podhook's annotations where the configuration has none of its own.
pub fn complete(
    bundle: &Path,
    files: &Files,
    annotations: &BTreeMap<String, String>,
) -> Result<()> {
    let path = bundle.join(FILE_NAME);
    let text = fs::read(&path).map_err(Error::io("read", &path))?;
    let mut config: Value = serde_json::from_slice(&text)
        .map_err(|e| Error::InvalidArgument(format!("parse {}: {e}", path.display())))?;
    let Value::Object(fields) = &mut config else {
        return Err(Error::InvalidArgument(format!(
            "{}: no object",
            path.display()
        )));
    };
    annotate(fields, annotations);
    if let Some(label) = text_of(fields, "/linux/mountLabel") {
        relabel(files, &label);
    }
    mount(fields, files);
    let text = serde_json::to_vec(&config).map_err(Error::failed("encode config.json"))?;
    let new = bundle.join("config.json.new");
    file::write_private(&new, &text)?;
    fs::rename(&new, &path).map_err(Error::io("rename", new))
}

fn text_of(fields: &Map<String, Value>, pointer: &str) -> Option<String> {
    let mut names = pointer.split('/').skip(1);
    let first = fields.get(names.next()?)?;
    let found = names.try_fold(first, |value, name| value.get(name))?;
    found
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn annotate(fields: &mut Map<String, Value>, pod: &BTreeMap<String, String>) {
    let own = |key: &str| OWN.iter().any(|prefix| key.starts_with(prefix));
    let mut missing = pod.iter().filter(|(key, _)| own(key)).peekable();
    if missing.peek().is_none() {
        return;
    }
    let annotations = fields.entry("annotations").or_insert(Value::Null);
    if annotations.is_null() {
        *annotations = json!({});
    }
    let Value::Object(annotations) = annotations else {
        return;
    };
    for (key, value) in missing {
        annotations.entry(key).or_insert_with(|| json!(value));
    }
}

fn mount(fields: &mut Map<String, Value>, files: &Files) {
    let read_only = fields.get("root").and_then(|root| root.get("readonly")) == Some(&json!(true));
    let mounts = fields.entry("mounts").or_insert(Value::Null);
    if mounts.is_null() {
        *mounts = json!([]);
    }
    let Value::Array(mounts) = mounts else { return };
    let at = |mount: &Value, place: &str| mount.get("destination") == Some(&json!(place));
    for (place, source) in files.named() {
        if mounts.iter().any(|mount| at(mount, place)) {
            continue;
        }
        let access = if read_only { "ro" } else { "rw" };
        mounts.push(json!({
            "destination": place, "type": "bind", "source": source,
            "options": ["rbind", "rprivate", access],
        }));
    }
    // One that everybody gets by default is each container's own; what the pod's author mounts there stays.
    let is_default = |mount: &Value| mount.get("type") == Some(&json!("tmpfs"));
    let shared = json!({
        "destination": SHM, "type": "bind", "source": files.shm, "options": ["rbind", "rprivate", "rw"],
    });
    match mounts.iter_mut().find(|mount| at(mount, SHM)) {
        Some(mount) if is_default(mount) => *mount = shared,
        Some(_) => {}
        None => mounts.push(shared),
    }
}

/// Gives the pod's files the label that the container may use, as CRI does before each container's start.
fn relabel(files: &Files, label: &str) {
    let own = files.named().map(|(_, file)| file);
    let shm = (files.shm != Path::new(SHM)).then(|| files.shm.clone());
    let Ok(label) = CString::new(label) else {
        return;
    };
    for path in own.into_iter().chain(shm) {
        if let Err(e) = set_label(&path, &label) {
            log::warn!("label {}: {e}", path.display());
        }
    }
}

#[allow(unsafe_code)]
fn set_label(path: &Path, label: &CString) -> std::io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let value = label.as_bytes_with_nul();
    // SAFETY: both texts end with a zero byte, and the value has the length that is given.
    let set = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            c"security.selinux".as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::PodSandboxConfig;
    use super::*;

    fn completed(config: &Value) -> Value {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join(FILE_NAME), config.to_string()).unwrap();
        let files = Files::of(Path::new("/s"), &PodSandboxConfig::default());
        let annotations = BTreeMap::from(
            [
                ("lifecycle.podhook.dev/c1.preStop", "pod's"),
                ("podhook.dev/grace", "9"),
                ("other/key", "x"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        complete(bundle.path(), &files, &annotations).unwrap();
        serde_json::from_slice(&fs::read(bundle.path().join(FILE_NAME)).unwrap()).unwrap()
    }

    fn mount_at<'a>(config: &'a Value, place: &str) -> Vec<&'a Value> {
        let mounts = config["mounts"].as_array().unwrap().iter();
        mounts
            .filter(|mount| mount["destination"] == place)
            .collect()
    }

    #[test]
    fn a_container_gets_the_pods_files_and_podhooks_annotations() {
        let config = completed(&json!({
            "root": {"readonly": true}, "future": 1,
            "mounts": [{"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}],
            "linux": {"uidMappings": [{"hostID": 1}], "gidMappings": [{"hostID": 2}]},
        }));
        assert_eq!(config["future"], 1);
        assert_eq!(
            config["annotations"],
            json!({"lifecycle.podhook.dev/c1.preStop": "pod's", "podhook.dev/grace": "9"})
        );
        for place in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
            let [mount] = mount_at(&config, place)[..] else {
                panic!("{config}")
            };
            assert_eq!(mount["options"], json!(["rbind", "rprivate", "ro"]));
            // They are its root's as they are.
            assert_eq!(mount.get("uidMappings"), None);
        }
        let [shm] = mount_at(&config, SHM)[..] else {
            panic!("{config}")
        };
        assert_eq!(
            (&shm["source"], &shm["type"]),
            (&json!("/s/pod/shm"), &json!("bind"))
        );
        assert_eq!(shm.get("uidMappings"), None);
    }

    #[test]
    fn what_a_container_has_of_its_own_stays() {
        let own = json!([
            {"destination": "/etc/hosts", "type": "bind", "source": "/kubelet/hosts"},
            {"destination": "/dev/shm", "type": "bind", "source": "/volume"},
        ]);
        let config = completed(&json!({
            "mounts": own, "annotations": {"podhook.dev/grace": "5"},
        }));
        assert_eq!(config["annotations"]["podhook.dev/grace"], "5");
        assert_eq!(mount_at(&config, "/etc/hosts"), [&own[0]]);
        assert_eq!(mount_at(&config, SHM), [&own[1]]);
        assert_eq!(
            mount_at(&config, "/etc/hostname")[0]["options"],
            json!(["rbind", "rprivate", "rw"])
        );
    }
}
