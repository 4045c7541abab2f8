//! deploy/ on the test's cluster, as a user applies it: by `kubectl apply -k` of an overlay, or by `helm install`. The overlay
//! has what is not as on a cluster of machines: there is no kube-proxy, so the API server has another address for pods; the
//! node that the installer sees is a folder, because this machine's own containerd is nobody's to restart; and the folders of
//! the true node, which the agent sees, are elsewhere.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use podhook_integration::generation::repository;
use podhook_integration::image::build_podhook;
use podhook_integration::kubernetes::{Kubectl, LONG, Namespace};
use podhook_integration::trace::Trace;
use podhook_integration::{Image, wait};
use serde_json::{Deserializer, Value, json};

use super::chart::{helm_chart, rendered};
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
    /// Applies a folder of deploy/kustomize, and waits until all of it works.
    pub fn start(kube: &'a Namespace<'a>, folder: &str) -> Result<Self, Error> {
        let mut this = Self::prepare(kube)?;
        this.apply(folder)?;
        this.wait_mutating()?;
        Ok(this)
    }

    /// Everything that is there before podhook comes.
    pub fn prepare(kube: &'a Namespace<'a>) -> Result<Self, Error> {
        build_podhook()?;
        kube.cluster()
            .containerd()
            .import("k8s.io", Image::Podhook)?;
        let kubectl = kube.cluster().kubectl();
        let this = Self {
            kube,
            trace: trace(kube)?,
            objects: Vec::new(),
            class: kubectl.ok(&["apply", "view-last-applied", CLASS, "-o", "json"])?,
        };
        this.make_node()?;
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
        let base = repository().join("deploy/kustomize").join(folder);
        let objects = objects(self.kube, &["-k", &base.to_string_lossy()])?;
        let overlay = self.overlay(&beside(self.trace.dir(), &base)?, &objects)?;
        self.kubectl().ok(&["apply", "-k", &overlay])?;
        self.rolled_out_all(objects)
    }

    /// `helm install` of the chart with these values, and its rollout.
    pub fn install(&mut self, values: &[&str]) -> Result<(), Error> {
        let rendered = rendered(self.kube, values)?;
        let overlay = self.overlay("rendered.yaml", &rendered)?;
        let kubectl = self.kubectl().command(&["kustomize", &overlay]);
        let program = kubectl.get_program().to_string_lossy().into_owned();
        let renderer = self.trace.dir().join("post-renderer");
        script(
            &renderer,
            &format!("cat > {overlay}/rendered.yaml && exec {program} kustomize {overlay}"),
        )?;
        // The cluster has one of its own.
        self.kubectl().ok(&["delete", CLASS])?;
        let mut words = vec![
            "install",
            "podhook",
            "--create-namespace",
            "--post-renderer",
        ];
        let renderer = renderer.to_string_lossy();
        words.push(&renderer);
        helm_chart(self.kube, &words, values)?.success()?;
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        self.rolled_out_all([vec![namespace], rendered].concat())
    }

    fn rolled_out_all(&mut self, objects: Vec<Value>) -> Result<(), Error> {
        self.objects = objects;
        for kind in ["DaemonSet", "Deployment"] {
            let of_kind = self.objects.iter().filter(|object| object["kind"] == kind);
            for object in of_kind {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                self.rolled_out(&format!("{}/{name}", kind.to_lowercase()))?;
            }
        }
        Ok(())
    }

    /// A kustomization of a resource, with what these objects must have here.
    fn overlay(&self, resource: &str, objects: &[Value]) -> Result<String, Error> {
        let folder = self.trace.dir().join("overlay");
        fs::create_dir_all(&folder)?;
        let patches = objects.iter().filter_map(|object| self.patch(object));
        let patches: Vec<_> = patches
            .map(|patch| json!({"patch": patch.to_string()}))
            .collect();
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [resource],
            "patches": patches,
        });
        fs::write(folder.join("kustomization.yaml"), kustomization.to_string())?;
        Ok(folder.to_string_lossy().into_owned())
    }

    fn patch(&self, object: &Value) -> Option<Value> {
        let pod = object.pointer("/spec/template/spec")?;
        let containerd = self.kube.cluster().containerd();
        let address = json!([
            {"name": "KUBERNETES_SERVICE_HOST", "value": containerd.node_address()},
            {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"},
        ]);
        let mut patch = json!({});
        for list in ["initContainers", "containers"] {
            for container in pod[list].as_array().into_iter().flatten() {
                let mut new = json!({"name": container["name"], "env": address});
                if container["name"] == "agent" {
                    // No mount of this machine is shared.
                    new["volumeMounts"] =
                        json!([{"mountPath": "/run/containerd", "mountPropagation": null}]);
                }
                let all = patch[list].as_array().cloned().unwrap_or_default();
                patch[list] = [all, vec![new]].concat().into();
            }
        }
        let state = containerd.dir().join("state");
        for volume in pod["volumes"].as_array().into_iter().flatten() {
            let path = match volume["name"].as_str() {
                Some("host") => self.node(""),
                Some("containerd") => state.clone(),
                Some("podhook") => state.join("podhook"),
                Some(name @ ("configuration" | "position")) => self.trace.dir().join(name),
                _ => continue,
            };
            let new = json!({"name": volume["name"], "hostPath": {"path": path}});
            let all = patch["volumes"].as_array().cloned().unwrap_or_default();
            patch["volumes"] = [all, vec![new]].concat().into();
        }
        let mut spec = json!({"template": {"spec": patch}});
        if object["kind"] == "Deployment" {
            spec["replicas"] = json!(1);
        }
        Some(json!({
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "metadata": {"name": object["metadata"]["name"], "namespace": NAMESPACE},
            "spec": spec,
        }))
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

/// A path as a kustomization in a folder of this one has it: it takes none from the root.
fn beside(folder: &Path, path: &Path) -> Result<String, Error> {
    let depth = folder.canonicalize()?.join("overlay").components().count();
    let up = "../".repeat(depth.saturating_sub(1));
    Ok(format!(
        "{up}{}",
        path.to_string_lossy().trim_start_matches('/')
    ))
}

fn script(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    Ok(())
}
