//! Pods through CRI.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Node, PodContainerBuilder};
use crate::cri::{Cri, v1};
use crate::driver;
use crate::stream::Stream;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A pod sandbox to be run.
#[derive(Debug)]
pub struct PodBuilder<'a> {
    node: &'a Node,
    config: v1::PodSandboxConfig,
    handler: &'static str,
    /// Whether the handler starts another program than the shim under test: a copy of it.
    own_shim: bool,
}

/// A pod sandbox; stopped and removed with its containers when dropped.
#[derive(Debug)]
pub struct Pod<'a> {
    pub(super) node: &'a Node,
    pub(super) cri: &'a Cri,
    pub(super) id: String,
    pub(super) config: v1::PodSandboxConfig,
    pub(super) removed: AtomicBool,
}

/// A process namespace per container, as the kubelet asks for by default; CRI's own default is one per pod.
pub(super) fn namespaces() -> v1::NamespaceOption {
    v1::NamespaceOption {
        pid: v1::NamespaceMode::Container.into(),
        ..Default::default()
    }
}

impl<'a> PodBuilder<'a> {
    pub(super) fn new(node: &'a Node, name: String) -> Self {
        let security = v1::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces()),
            ..Default::default()
        };
        let linux = v1::LinuxPodSandboxConfig {
            security_context: Some(security),
            cgroup_parent: driver::pod_parent(node.containerd().id()),
            ..Default::default()
        };
        let config = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
                name: name.clone(),
            }),
            hostname: "pod".to_owned(),
            log_directory: node
                .containerd()
                .dir()
                .join("logs")
                .join(name)
                .display()
                .to_string(),
            linux: Some(linux),
            ..Default::default()
        };
        Self {
            node,
            config,
            handler: node.shim().handler(),
            own_shim: false,
        }
    }

    /// A pod annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config
            .annotations
            .insert(key.to_owned(), value.to_owned());
        self
    }

    /// The lifecycle of the pod's container `name`, as an annotation of the pod.
    #[must_use]
    pub fn lifecycle(self, name: &str, json: &str) -> Self {
        self.annotation(&format!("lifecycle.podhook.dev/{name}"), json)
    }

    /// With the runtime handler whose node configuration is the containerd's own `podhook.toml`, which
    /// the test writes.
    #[must_use]
    pub fn configured(mut self) -> Self {
        self.handler = crate::containerd::CONFIGURED;
        self
    }

    /// With the runtime handler whose shims are in the cgroup `INSTANCE-shims`, which the test makes; where podhook
    /// stands in for the original.
    #[must_use]
    pub fn placed(mut self) -> Self {
        self.handler = crate::containerd::PLACED;
        self
    }

    /// With a runtime handler that the test has added to the containerd's configuration, and a shim of its own.
    #[must_use]
    pub fn handler(mut self, name: &'static str) -> Self {
        self.handler = name;
        self.own_shim = true;
        self
    }

    /// Anything else of the CRI configuration.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut v1::PodSandboxConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// One process namespace for all containers, as with `shareProcessNamespace`; they ask for it themselves too.
    #[must_use]
    pub fn shared_pid(self) -> Self {
        self.config(|config| {
            let linux = config.linux.get_or_insert_default();
            let security = linux.security_context.get_or_insert_default();
            security.namespace_options.get_or_insert_default().pid = v1::NamespaceMode::Pod.into();
        })
    }

    /// Runs the sandbox.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn run(self) -> Result<Pod<'a>, Error> {
        let cri = self.node.containerd().cri()?;
        self.node.shim().runtime()?;
        let request = v1::RunPodSandboxRequest {
            config: Some(self.config.clone()),
            runtime_handler: self.handler.to_owned(),
        };
        let id = cri.run_pod_sandbox(request)?.pod_sandbox_id;
        self.node.remember("k8s.io", &id);
        let pod = Pod {
            node: self.node,
            cri,
            id,
            config: self.config,
            removed: AtomicBool::new(false),
        };
        if !self.own_shim {
            self.node.check_shim("k8s.io", &pod.id)?;
        }
        Ok(pod)
    }
}

impl Pod<'_> {
    /// The sandbox's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A container to be created here, called `name`.
    #[must_use]
    pub fn container(&self, name: &str) -> PodContainerBuilder<'_> {
        PodContainerBuilder::new(self, name)
    }

    /// The pod's address on the pod network.
    ///
    /// # Errors
    /// containerd's answer, or a pod without an address.
    pub fn ip(&self) -> Result<String, Error> {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: self.id.clone(),
            verbose: false,
        };
        let status = self
            .cri
            .pod_sandbox_status(request)?
            .status
            .unwrap_or_default();
        let ip = status.network.unwrap_or_default().ip;
        if ip.is_empty() {
            Err(format!("pod {} has no address", self.id).into())
        } else {
            Ok(ip)
        }
    }

    /// CRI `PortForward` of one port.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn port_forward(&self, port: i32) -> Result<Stream, Error> {
        let answer = self.cri.port_forward(v1::PortForwardRequest {
            pod_sandbox_id: self.id.clone(),
            port: vec![port],
        })?;
        Ok(Stream::connect(&answer.url)?)
    }

    /// The node's process id of the sandbox's own process.
    ///
    /// # Errors
    /// When containerd does not tell it.
    pub fn pid(&self) -> Result<i32, Error> {
        Ok(self.cri.sandbox_pid(&self.id)?)
    }

    /// Its state, as `SANDBOX_READY`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn state(&self) -> Result<&'static str, Error> {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: self.id.clone(),
            verbose: false,
        };
        let answer = self.cri.pod_sandbox_status(request)?;
        Ok(answer.status.unwrap_or_default().state().as_str_name())
    }

    /// Removes the sandbox with its containers, running or not.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn remove_by_force(&self) -> Result<(), Error> {
        self.cri.remove_pod_sandbox(v1::RemovePodSandboxRequest {
            pod_sandbox_id: self.id.clone(),
        })?;
        self.removed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Stops the sandbox and everything in it, as `StopPodSandbox` does.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn stop(&self) -> Result<(), Error> {
        self.cri.stop_pod_sandbox(v1::StopPodSandboxRequest {
            pod_sandbox_id: self.id.clone(),
        })?;
        Ok(())
    }

    /// Stops and removes the sandbox with its containers.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn remove(&self) -> Result<(), Error> {
        self.stop()?;
        self.cri.remove_pod_sandbox(v1::RemovePodSandboxRequest {
            pod_sandbox_id: self.id.clone(),
        })?;
        self.removed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        if *self.removed.get_mut() {
            return;
        }
        if let Err(error) = self.remove() {
            eprintln!("pod {}: {error}", self.id);
        }
    }
}
