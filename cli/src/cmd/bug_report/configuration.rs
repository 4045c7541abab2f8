//! What configurations say of runtimes, and nothing else of them: registries have credentials there.

use podhook_hooks::config::DEFAULT_PATH;
use serde_json::{Map, Value, json};

use super::redact::{REDACTED, Redaction};
use crate::setup::configure;
use crate::setup::containerd::load::{Loaded, Source, default_runtime, runtimes, to_json};
use crate::setup::place::{Configuration, Place};
use crate::setup::root::Root;
use crate::setup::version::Version;

/// Of containerd's main file.
const GLOBAL: [&str; 6] = [
    "version",
    "imports",
    "disabled_plugins",
    "required_plugins",
    "root",
    "state",
];
/// Of a runtime.
const RUNTIME: [&str; 12] = [
    "runtime_type",
    "runtime_path",
    "runtimeType",
    "path",
    "pod_annotations",
    "container_annotations",
    "sandboxer",
    "sandbox_mode",
    "snapshotter",
    "cgroup_writable",
    "privileged_without_host_devices",
    "disable_pause_image_pull",
];
/// Of its options.
const OPTIONS: [&str; 11] = [
    "SystemdCgroup",
    "BinaryName",
    "Root",
    "ConfigPath",
    "TypeUrl",
    "NoPivotRoot",
    "NoNewKeyring",
    "ShimCgroup",
    "IoUid",
    "IoGid",
    "CriuPath",
];
/// Of docker's.
const DAEMON: [&str; 7] = [
    "default-runtime",
    "exec-opts",
    "cgroup-parent",
    "containerd",
    "containerd-namespace",
    "live-restore",
    "features",
];

/// What the configuration of a place says; in place of one that cannot be read, why.
pub(super) fn of(root: &Root, place: &Place, version: Option<Version>) -> Option<Value> {
    match &place.configuration {
        Configuration::Toml(path)
        | Configuration::Template {
            generated: path, ..
        } => {
            let read = configure::generation(root, place, path, version)
                .and_then(|generation| Loaded::read(root, path, generation));
            Some(match read {
                Ok(loaded) => containerd(&loaded),
                // What follows the first line quotes the file.
                Err(e) => json!({"file": path, "error": e.to_string().lines().next()}),
            })
        }
        Configuration::Daemon(path) => {
            let text = root.text(path.to_str()?)?;
            Some(match serde_json::from_str::<Value>(&text) {
                Ok(config) => daemon(&config),
                Err(e) => json!({"file": path, "error": e.to_string()}),
            })
        }
        Configuration::None => None,
    }
}

fn containerd(loaded: &Loaded) -> Value {
    let files = loaded.files.iter().map(|file: &Source| {
        let mut kept = Map::from_iter([("file".to_owned(), json!(file.path))]);
        for key in GLOBAL {
            if let Some(item) = file.document.get(key) {
                kept.insert(key.to_owned(), to_json(item));
            }
        }
        kept.insert("cri".to_owned(), file.has_plugin().into());
        Value::Object(kept)
    });
    let files: Vec<Value> = files.collect();
    let cri = loaded.cri();
    json!({
        "files": files,
        "defaultRuntime": default_runtime(&cri),
        "runtimes": runtimes(&cri).map(all),
    })
}

fn daemon(config: &Value) -> Value {
    let mut kept = Map::new();
    for key in DAEMON {
        if let Some(value) = config.get(key) {
            kept.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(runtimes) = config.get("runtimes").and_then(Value::as_object) {
        kept.insert("runtimes".to_owned(), all(runtimes));
    }
    kept.into()
}

fn all(runtimes: &Map<String, Value>) -> Value {
    let sections = runtimes.iter().map(|(name, section)| {
        let entries = section.as_object().into_iter().flatten();
        let kept = entries.map(|(key, value)| {
            let value = match &**key {
                "options" => known(value, &OPTIONS),
                key if RUNTIME.contains(&key) => value.clone(),
                _ => REDACTED.into(),
            };
            (key.clone(), value)
        });
        (name.clone(), Value::Object(kept.collect()))
    });
    Value::Object(sections.collect())
}

/// The values of these keys, and the names of the others.
fn known(value: &Value, keys: &[&str]) -> Value {
    let entries = value.as_object().into_iter().flatten();
    let kept = entries.map(|(key, value)| {
        let value = match keys.contains(&&**key) {
            true => value.clone(),
            false => REDACTED.into(),
        };
        (key.clone(), value)
    });
    Value::Object(kept.collect())
}

/// podhook's own; none where there is no file.
pub(super) fn podhook(root: &Root, redaction: Redaction) -> Option<String> {
    let text = root.text(DEFAULT_PATH)?;
    if redaction == Redaction::Off {
        return Some(text);
    }
    // Comments may hold anything.
    let parsed = text.parse::<toml_edit::DocumentMut>();
    let config = match parsed {
        Ok(document) => to_json(document.as_item()),
        Err(e) => json!({"error": e.message()}),
    };
    let kept = redaction.configuration(&config);
    Some(serde_json::to_string_pretty(&kept).unwrap_or_default() + "\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn registries_and_what_is_not_known_stay_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "etc/containerd/config.toml",
            "version = 2\nstate = '/run/x'\n[plugins.'io.containerd.grpc.v1.cri'.registry.configs.a.auth]\npassword = 'hunter2'\n\
             [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.podhook]\nruntime_type = 'io.containerd.podhook.v1'\n\
             later = 'hunter2'\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.podhook.options]\n\
             SystemdCgroup = true\nLater = 'hunter2'\n[proxy_plugins.x]\naddress = 'hunter2'\n",
        );
        write(
            "etc/docker/daemon.json",
            r#"{"exec-opts": ["a"], "log-opts": {"splunk-token": "hunter2"}, "runtimes": {"podhook":
            {"runtimeType": "io.containerd.podhook.v1", "options": {"Key": "hunter2"}}}}"#,
        );
        let hook = "# hunter2\n[lifecycle.preStop.exec]\ncommand = ['sh', 'hunter2']\n";
        write("etc/podhook/config.toml", hook);
        let root = Root::open(folder.path()).unwrap();
        let version = Version::parse("1.7.24");
        let mut texts = vec![podhook(&root, Redaction::On).unwrap()];
        for place in Place::all(&root) {
            texts.push(of(&root, &place, version).unwrap().to_string());
        }
        let text = texts.join("\n");
        assert_eq!(texts.len(), 3, "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        for kept in [
            "\"state\":\"/run/x\"",
            "\"SystemdCgroup\":true",
            "io.containerd.podhook.v1",
            "\"exec-opts\":[\"a\"]",
            "\"sh\"",
        ] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        assert_eq!(podhook(&root, Redaction::Off).as_deref(), Some(hook));
    }
}
