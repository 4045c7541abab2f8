//! deploy/kustomize on the test's cluster, as a user applies it. What is not as on a cluster of machines: there is no
//! kube-proxy, so the API server has another address for pods, and the node is a folder, because this machine's own
//! containerd is nobody's to restart.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use podhook_integration::generation::repository;
use podhook_integration::image::build_podhook;
use podhook_integration::kubernetes::{Kubectl, LONG, Namespace};
use podhook_integration::trace::Trace;
use podhook_integration::{Image, wait};
use serde_json::{Deserializer, Value, json};

use crate::steps::{Error, trace};

/// Where deploy/ puts itself.
pub const NAMESPACE: &str = "podhook";
const CLASS: &str = "runtimeclass/podhook";
/// containerd's configuration of the node that is a folder.
const CONFIG: &str = "etc/containerd/config.toml";
pub const SETTINGS: &str =
    "version = 3\n# of the house\n[plugins.'io.containerd.cri.v1.runtime'.containerd]\n";

/// What was applied; taken away when dropped.
pub struct Deployed<'a> {
    kube: &'a Namespace<'a>,
    trace: Trace,
    objects: Vec<Value>,
    /// The cluster's own RuntimeClass, which others use.
    class: String,
}

impl<'a> Deployed<'a> {
    /// Applies it, and waits until all of it works.
    pub fn start(kube: &'a Namespace<'a>) -> Result<Self, Error> {
        build_podhook()?;
        kube.cluster()
            .containerd()
            .import("k8s.io", Image::Podhook)?;
        let kubectl = kube.cluster().kubectl();
        let mut this = Self {
            kube,
            trace: trace(kube)?,
            objects: Vec::new(),
            class: kubectl.ok(&["apply", "view-last-applied", CLASS, "-o", "json"])?,
        };
        this.make_node()?;
        this.apply("base")?;
        this.wait_mutating()?;
        Ok(this)
    }

    fn kubectl(&self) -> &Kubectl {
        self.kube.cluster().kubectl()
    }

    /// A file of the node that is a folder.
    pub fn node(&self, path: &str) -> PathBuf {
        self.trace.dir().join("host").join(path)
    }

    /// That node: a containerd and a systemctl that are scripts and run nowhere but in it, and the socket of the true
    /// containerd, which has the runtime.
    fn make_node(&self) -> Result<(), Error> {
        for folder in ["bin", "etc/containerd", "run/containerd", "usr/bin"] {
            fs::create_dir_all(self.node(folder))?;
        }
        fs::copy("/bin/busybox", self.node("bin/sh"))?;
        fs::write(self.node(CONFIG), SETTINGS)?;
        script(
            &self.node("usr/bin/containerd"),
            "echo containerd x v2.4.2 y",
        )?;
        script(&self.node("usr/bin/systemctl"), "echo \"$@\" >> /restarted")?;
        let socket = self.kube.cluster().containerd().address();
        fs::hard_link(socket, self.node("run/containerd/containerd.sock"))?;
        Ok(())
    }

    /// `kubectl apply -k` of a folder of deploy/kustomize, and its rollout.
    pub fn apply(&mut self, folder: &str) -> Result<(), Error> {
        let folder = repository().join("deploy/kustomize").join(folder);
        let folder = folder.to_string_lossy();
        let mut objects = objects(self.kube, &["-k", &folder])?;
        for object in &mut objects {
            self.adapt(object);
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.kubectl().apply(NAMESPACE, &list.to_string())?;
        self.objects = objects;
        self.rolled_out("daemonset/podhook-node")?;
        self.rolled_out("deployment/podhook-webhook")
    }

    fn adapt(&self, object: &mut Value) {
        let cluster = self.kube.cluster();
        let address = json!([
            {"name": "KUBERNETES_SERVICE_HOST", "value": cluster.containerd().node_address()},
            {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"},
        ]);
        if object["kind"] == "Deployment" {
            object["spec"]["replicas"] = json!(1);
        }
        let Some(pod) = object.pointer_mut("/spec/template/spec") else {
            return;
        };
        for list in ["initContainers", "containers"] {
            let containers = pod.get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                let mut variables = address.as_array().cloned().unwrap_or_default();
                variables.extend(container["env"].as_array().into_iter().flatten().cloned());
                container["env"] = variables.into();
            }
        }
        let volumes = pod.get_mut("volumes").and_then(Value::as_array_mut);
        for volume in volumes.into_iter().flatten() {
            if volume["name"] == "host" {
                volume["hostPath"]["path"] = json!(self.node(""));
            }
        }
    }

    /// kubectl in podhook's namespace.
    pub fn ok(&self, words: &[&str]) -> Result<String, Error> {
        let all = [&["--namespace", NAMESPACE], words].concat();
        Ok(self.kubectl().ok(&all)?)
    }

    pub fn rolled_out(&self, name: &str) -> Result<(), Error> {
        let status = self.ok(&["rollout", "status", name, "--timeout=120s"]);
        status.map(drop).map_err(|error| {
            let words = ["describe", "pods"];
            let logs = ["logs", name, "--all-containers", "--tail=20", "--prefix"];
            let all = [&words[..], &logs].map(|words| self.ok(words).unwrap_or_default());
            format!("{error}\n{}", all.join("\n")).into()
        })
    }

    /// Waits until the webhook answers the API server, which a dry run shows.
    pub fn wait_mutating(&self) -> Result<(), Error> {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "probe"},
            "spec": {
                "runtimeClassName": "podhook",
                "containers": [{"name": "a", "image": "b", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}],
            },
        });
        let file = self.file("probe", &pod)?;
        let words = ["create", "--dry-run=server", "-o", "json", "-f", &file];
        let mut last = String::new();
        let come = wait::until_true("the webhook's answer", LONG, || {
            last = self
                .kube
                .ok(&words)
                .unwrap_or_else(|error| error.to_string());
            last.contains("lifecycle.podhook.dev/a")
        });
        come.map_err(|error| {
            let logs = ["logs", "deployment/podhook-webhook", "--all-containers"];
            format!("{error}: {last}\n{}", self.ok(&logs).unwrap_or_default()).into()
        })
    }

    /// A manifest in a file, for kubectl.
    pub fn file(&self, name: &str, manifest: &Value) -> Result<String, Error> {
        let path = self.trace.dir().join(format!("{name}.json"));
        fs::write(&path, manifest.to_string())?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// So many pods of the webhook.
    pub fn scale(&self, replicas: usize) -> Result<(), Error> {
        let replicas = format!("--replicas={replicas}");
        self.ok(&["scale", "deployment/podhook-webhook", &replicas])?;
        self.rolled_out("deployment/podhook-webhook")
    }

    /// The node's label; null where it has none.
    pub fn label(&self) -> Result<Value, Error> {
        let node = self
            .kubectl()
            .json(&["get", "node", self.kube.cluster().node()])?;
        Ok(node["metadata"]["labels"]["podhook.dev/ready"].clone())
    }
}

impl Drop for Deployed<'_> {
    fn drop(&mut self) {
        let mut objects = std::mem::take(&mut self.objects);
        objects.retain(|object| object["kind"] != "RuntimeClass");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        if let Ok(file) = self.file("all", &list) {
            let words = [
                "delete",
                "--ignore-not-found",
                "--timeout=120s",
                "-f",
                &file,
            ];
            let _ = self.kubectl().run(&words);
        }
        let _ = self.kubectl().apply("default", &self.class);
        let words = [
            "label",
            "node",
            self.kube.cluster().node(),
            "podhook.dev/ready-",
        ];
        let _ = self.kubectl().run(&words);
    }
}

/// The objects of manifests as kubectl would send them, by kind and name.
pub fn objects(kube: &Namespace<'_>, manifests: &[&str]) -> Result<Vec<Value>, Error> {
    let words = ["create", "--dry-run=client", "-o", "json"];
    let text = kube.cluster().kubectl().ok(&[&words, manifests].concat())?;
    // A list, or one after the other.
    let read: Result<Vec<Value>, _> = Deserializer::from_str(&text).into_iter().collect();
    let mut objects = Vec::new();
    for object in read? {
        match object["items"].as_array() {
            Some(items) => objects.extend(items.iter().cloned()),
            None => objects.push(object),
        }
    }
    let key = |object: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // What the others are in comes first.
        let is_inside = object["kind"] != "Namespace";
        (
            is_inside,
            text(&object["kind"]),
            text(&object["metadata"]["name"]),
        )
    };
    objects.sort_by_key(key);
    Ok(objects)
}

fn script(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    Ok(())
}
