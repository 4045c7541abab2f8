//! What a test sees of a cluster: a namespace of its own, whose pods have the shim under test.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{Cluster, Error, Kubectl, Side, Watch};
use crate::command::Output;
use crate::containerd::remains;
use crate::cri::v1;
use crate::generation::repository;
use crate::wait;

/// What a pod may take to get somewhere: its restarts have pauses, and others use the machine.
pub const LONG: Duration = Duration::from_secs(150);

/// A namespace, gone with its pods when dropped.
#[derive(Debug)]
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    name: String,
    side: Side,
}

impl<'a> Namespace<'a> {
    /// Makes one for pods of a side.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn new(cluster: &'a Cluster, side: Side) -> Result<Self, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        cluster.kubectl().ok(&["create", "namespace", &name])?;
        let this = Self {
            cluster,
            name,
            side,
        };
        cluster.wait_account(&this.name)?;
        Ok(this)
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        self.cluster
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose hooks its pods have, and on which shim.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    fn kubectl(&self) -> &Kubectl {
        self.cluster.kubectl()
    }

    /// kubectl in this namespace, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub fn run(&self, words: &[&str]) -> Result<Output, Error> {
        self.kubectl()
            .run(&[&["--namespace", &self.name], words].concat())
    }

    /// What kubectl prints in this namespace when it succeeds.
    ///
    /// # Errors
    /// As [`Self::run`], and when it fails.
    pub fn ok(&self, words: &[&str]) -> Result<String, Error> {
        self.kubectl()
            .ok(&[&["--namespace", &self.name], words].concat())
    }

    /// What `get -o json` shows.
    ///
    /// # Errors
    /// As [`Self::ok`].
    pub fn json(&self, words: &[&str]) -> Result<Value, Error> {
        self.kubectl()
            .json(&[&["--namespace", &self.name], words].concat())
    }

    /// `kubectl apply` of a manifest as it is.
    ///
    /// # Errors
    /// As [`Self::ok`].
    pub fn apply(&self, manifest: &str) -> Result<String, Error> {
        self.kubectl().apply(&self.name, manifest)
    }

    /// Makes a pod of `spec` with hooks for its containers by name.
    ///
    /// # Errors
    /// As [`Self::ok`].
    pub fn pod(&self, name: &str, hooks: &[(&str, &Value)], spec: Value) -> Result<(), Error> {
        let manifest = self.side.pod(name, hooks, spec);
        self.apply(&manifest.to_string()).map(drop)
    }

    /// What kubectl would send of a manifest.
    ///
    /// # Errors
    /// As [`Self::ok`].
    pub fn read(&self, manifest: &str) -> Result<Value, Error> {
        self.kubectl().read(&self.name, manifest)
    }

    /// What `kubectl get pod -w` sees of a pod from now on.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn watch(&self, pod: &str) -> Result<Watch, Error> {
        Watch::start(self.kubectl(), &self.name, pod)
    }

    /// One of `examples/`, for the shim under test.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn example(&self, name: &str) -> Result<String, Error> {
        let path = repository().join("examples").join(format!("{name}.yaml"));
        let text = fs::read_to_string(&path).map_err(super::error::io_error("read", &path))?;
        let class = format!("runtimeClassName: {}", self.side.shim());
        Ok(text.replace("runtimeClassName: podhook", &class))
    }

    /// A pod as it is now.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, pod: &str) -> Result<Value, Error> {
        self.json(&["get", "pod", pod])
    }

    /// Waits for a pod to be as `condition` has it, and gives it.
    ///
    /// # Errors
    /// When it does not get so: with what `kubectl describe` says.
    pub fn wait(
        &self,
        pod: &str,
        what: &str,
        mut condition: impl FnMut(&Value) -> bool,
    ) -> Result<Value, Error> {
        let come = wait::until(&format!("{pod}: {what}"), LONG, || {
            self.get(pod).ok().filter(|pod| condition(pod))
        });
        come.map_err(|what| Error::TooSlow {
            what,
            more: self.ok(&["describe", "pod", pod]).unwrap_or_default(),
        })
    }

    /// Waits until a pod is ready.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn ready(&self, pod: &str) -> Result<Value, Error> {
        self.wait(pod, "ready", is_ready)
    }

    /// Waits until a pod is no more.
    ///
    /// # Errors
    /// When it still is.
    pub fn gone(&self, pod: &str) -> Result<(), Error> {
        let gone = wait::until_true(&format!("{pod}: gone"), LONG, || {
            self.run(&["get", "pod", pod])
                .is_ok_and(|output| output.status != 0 && output.stderr.contains("NotFound"))
        });
        gone.map_err(|what| Error::TooSlow {
            what,
            more: self.ok(&["describe", "pod", pod]).unwrap_or_default(),
        })
    }

    /// The events of a pod, as `REASON: MESSAGE`, in their order.
    ///
    /// # Errors
    /// As [`Self::ok`].
    pub fn events(&self, pod: &str) -> Result<Vec<String>, Error> {
        let selector = format!("involvedObject.name={pod}");
        let list = self.json(&[
            "get",
            "events",
            "--field-selector",
            &selector,
            "--sort-by=.metadata.creationTimestamp",
        ])?;
        let line = |event: &Value| {
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", text("reason"), text("message"))
        };
        Ok(list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(line)
            .collect())
    }

    /// Waits for an event of a pod whose line contains `text`.
    ///
    /// # Errors
    /// When there is none: with the pod's description.
    pub fn wait_event(&self, pod: &str, text: &str) -> Result<String, Error> {
        let come = wait::until(&format!("{pod}: event {text:?}"), LONG, || {
            let events = self.events(pod).unwrap_or_default();
            events.into_iter().find(|event| event.contains(text))
        });
        come.map_err(|what| Error::TooSlow {
            what,
            more: self.ok(&["describe", "pod", pod]).unwrap_or_default(),
        })
    }

    /// What containerd and the shims have logged of a container.
    #[must_use]
    pub fn log(&self, container: &str) -> Vec<String> {
        let log = self.cluster.containerd().log();
        let of = |line: &&str| line.contains(container);
        log.lines().filter(of).map(str::to_owned).collect()
    }

    /// The shim that serves a container of a pod: its process.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn shim_of(&self, pod: &str) -> Result<Option<remains::Shim>, Error> {
        let uid = self.get(pod)?["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let containerd = self.cluster.containerd();
        let ours = v1::PodSandboxFilter {
            label_selector: [("io.kubernetes.pod.uid".to_owned(), uid)].into(),
            ..Default::default()
        };
        let request = v1::ListPodSandboxRequest { filter: Some(ours) };
        let sandboxes = containerd.cri()?.list_pod_sandbox(request)?.items;
        let shims = remains::shims(&containerd.address());
        let serves = |shim: &remains::Shim| sandboxes.iter().any(|pod| pod.id == shim.id);
        Ok(shims.into_iter().find(serves))
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let _ = self.run(&[
            "delete",
            "jobs,deployments,pods",
            "--all",
            "--grace-period=1",
            "--timeout=60s",
        ]);
        let words = ["delete", "namespace", &self.name, "--wait=false"];
        let _ = self.kubectl().run(&words);
    }
}

/// Whether a pod's condition Ready holds.
#[must_use]
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
