//! Pods and their containers through CRI.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Node;
use crate::cri::{self, Cri, v1};
use crate::image::Image;
use crate::record::{self, Record, Watch};
use crate::wait::{self, SOON};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A pod sandbox to be run.
#[derive(Debug)]
pub struct PodBuilder<'a> {
    node: &'a Node,
    config: v1::PodSandboxConfig,
}

/// A pod sandbox; stopped and removed with its containers when dropped.
#[derive(Debug)]
pub struct Pod<'a> {
    node: &'a Node,
    cri: &'a Cri,
    id: String,
    config: v1::PodSandboxConfig,
}

/// A container to be created in a pod.
#[derive(Debug)]
pub struct PodContainerBuilder<'a> {
    pod: &'a Pod<'a>,
    image: Image,
    config: v1::ContainerConfig,
}

/// A container of a pod.
#[derive(Debug)]
pub struct PodContainer<'a> {
    pod: &'a Pod<'a>,
    id: String,
}

/// A process namespace per container, as the kubelet asks for by default; CRI's own default is one per pod.
fn namespaces() -> v1::NamespaceOption {
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
            cgroup_parent: format!("/{}", node.containerd().id()),
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
        Self { node, config }
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

    /// Anything else of the CRI configuration.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut v1::PodSandboxConfig)) -> Self {
        change(&mut self.config);
        self
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
            runtime_handler: self.node.shim().handler().to_owned(),
        };
        let id = cri.run_pod_sandbox(request)?.pod_sandbox_id;
        self.node.remember("k8s.io", &id);
        Ok(Pod {
            node: self.node,
            cri,
            id,
            config: self.config,
        })
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
        let config = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            log_path: format!("{name}.log"),
            linux: Some(v1::LinuxContainerConfig {
                security_context: Some(v1::LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        PodContainerBuilder {
            pod: self,
            image: Image::Busybox,
            config,
        }
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
        Ok(())
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        // Removing what is removed already is no error in CRI.
        if let Err(error) = self.remove() {
            eprintln!("pod {}: {error}", self.id);
        }
    }
}

impl<'a> PodContainerBuilder<'a> {
    /// Another image than busybox.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.image = image;
        self
    }

    /// What to run instead of the image's own command.
    #[must_use]
    pub fn command(mut self, words: &[&str]) -> Self {
        self.config.command = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// A container annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config
            .annotations
            .insert(key.to_owned(), value.to_owned());
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.config.envs.push(v1::KeyValue {
            key: key.to_owned(),
            value: value.to_owned(),
        });
        self
    }

    /// A folder of the node inside the container.
    #[must_use]
    pub fn host_path(mut self, host: &Path, container: &str) -> Self {
        self.config.mounts.push(v1::Mount {
            host_path: host.display().to_string(),
            container_path: container.to_owned(),
            ..Default::default()
        });
        self
    }

    /// Anything else of the CRI configuration.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut v1::ContainerConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Creates it.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn create(mut self) -> Result<PodContainer<'a>, Error> {
        let pod = self.pod;
        let reference = self.image.reference();
        pod.node.containerd().import("k8s.io", self.image)?;
        // CRI learns of imported images by an event.
        wait::until_true(&format!("CRI to know {reference}"), SOON, || {
            pod.cri.has_image(reference).unwrap_or(false)
        })?;
        self.config.image = Some(v1::ImageSpec {
            image: reference.to_owned(),
            ..Default::default()
        });
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(self.config),
            sandbox_config: Some(pod.config.clone()),
        };
        let id = pod.cri.create_container(request)?.container_id;
        pod.node.remember("k8s.io", &id);
        Ok(PodContainer { pod, id })
    }

    /// Creates and starts it.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn start(self) -> Result<PodContainer<'a>, Error> {
        let container = self.create()?;
        container.start()?;
        Ok(container)
    }
}

impl PodContainer<'_> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the shim has recorded of its hooks; none without a lifecycle.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        record::read(&self.bundle())
    }

    /// Follows the record, for what is to be known after the container is deleted.
    #[must_use]
    pub fn watch_record(&self) -> Watch {
        Watch::start(self.bundle())
    }

    /// Its bundle.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.pod.node.containerd().bundle("k8s.io", &self.id)
    }

    /// Starts it, with the kubelet's deadline of two minutes.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn start(&self) -> Result<(), cri::Error> {
        self.start_within(cri::LIMIT)
    }

    /// Starts it with another deadline.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn start_within(&self, limit: Duration) -> Result<(), cri::Error> {
        self.pod.cri.start_container_within(&self.id, limit)
    }

    /// Stops it with `grace` seconds until SIGKILL; returns when it has ended.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn stop(&self, grace: i64) -> Result<(), cri::Error> {
        self.pod.cri.stop_container(v1::StopContainerRequest {
            container_id: self.id.clone(),
            timeout: grace,
        })?;
        Ok(())
    }

    /// Removes it, by force if it runs.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn remove(&self) -> Result<(), cri::Error> {
        self.pod.cri.remove_container(v1::RemoveContainerRequest {
            container_id: self.id.clone(),
        })?;
        Ok(())
    }

    /// What CRI says of it.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn status(&self) -> Result<v1::ContainerStatus, cri::Error> {
        let request = v1::ContainerStatusRequest {
            container_id: self.id.clone(),
            verbose: false,
        };
        Ok(self
            .pod
            .cri
            .container_status(request)?
            .status
            .unwrap_or_default())
    }

    /// Its state, as `CONTAINER_RUNNING`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn state(&self) -> Result<&'static str, cri::Error> {
        Ok(self.status()?.state().as_str_name())
    }

    /// Waits until it has exited and gives the status.
    ///
    /// # Errors
    /// When it runs longer than `limit`.
    pub fn wait_exit(&self, limit: Duration) -> Result<v1::ContainerStatus, Error> {
        Ok(wait::until(&format!("exit of {}", self.id), limit, || {
            self.status()
                .ok()
                .filter(|status| status.state() == v1::ContainerState::ContainerExited)
        })?)
    }

    /// The topics of its task events so far, as `["create", "start"]`.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        self.pod.node.events().topics(&self.id)
    }

    /// CRI `ExecSync` with a limit in seconds, 0 for none.
    ///
    /// # Errors
    /// containerd's answer; an exit status other than 0 is no error.
    pub fn exec_within(
        &self,
        seconds: i64,
        command: &[&str],
    ) -> Result<v1::ExecSyncResponse, cri::Error> {
        self.pod.cri.exec_sync(v1::ExecSyncRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: seconds,
        })
    }

    /// CRI `ExecSync` that must end with status 0; gives its standard output.
    ///
    /// # Errors
    /// containerd's answer, or another exit status.
    pub fn exec(&self, command: &[&str]) -> Result<String, Error> {
        let answer = self.exec_within(60, command)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if answer.exit_code == 0 {
            return Ok(text(&answer.stdout));
        }
        Err(format!(
            "{command:?}: exit status {}: {}{}",
            answer.exit_code,
            text(&answer.stdout),
            text(&answer.stderr)
        )
        .into())
    }

    /// CRI `ContainerStats`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn stats(&self) -> Result<v1::ContainerStats, cri::Error> {
        let request = v1::ContainerStatsRequest {
            container_id: self.id.clone(),
        };
        Ok(self
            .pod
            .cri
            .container_stats(request)?
            .stats
            .unwrap_or_default())
    }

    /// Its log as the kubelet reads it: stream (`stdout`, `stderr`) and text of each line.
    ///
    /// # Errors
    /// When there is no log.
    pub fn log(&self) -> Result<Vec<(String, String)>, Error> {
        let path = self.status()?.log_path;
        let text = fs::read_to_string(&path).map_err(|error| format!("read {path}: {error}"))?;
        let line = |line: &str| {
            let mut words = line.splitn(4, ' ').skip(1);
            Some((words.next()?.to_owned(), words.nth(1)?.to_owned()))
        };
        Ok(text.lines().filter_map(line).collect())
    }

    /// Waits until a line of its log contains `text`.
    ///
    /// # Errors
    /// When none does within `limit`.
    pub fn wait_log(&self, text: &str, limit: Duration) -> Result<(), Error> {
        let found = || {
            self.log()
                .is_ok_and(|lines| lines.iter().any(|(_, line)| line.contains(text)))
        };
        Ok(wait::until_true(
            &format!("{text:?} in the log of {}", self.id),
            limit,
            found,
        )?)
    }
}
