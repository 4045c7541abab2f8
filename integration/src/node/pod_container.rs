//! The containers of a pod through CRI.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Pod;
use super::pod::namespaces;
use crate::attached::Attached;
use crate::cri::{self, v1};
use crate::image::Image;
use crate::record::{self, Record, Watch};
use crate::stream::Stream;
use crate::wait::{self, SOON};

type Error = Box<dyn std::error::Error + Send + Sync>;

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

impl<'a> PodContainerBuilder<'a> {
    pub(super) fn new(pod: &'a Pod<'a>, name: &str) -> Self {
        let security = v1::LinuxContainerSecurityContext {
            namespace_options: Some(namespaces()),
            ..Default::default()
        };
        let linux = v1::LinuxContainerConfig {
            security_context: Some(security),
            ..Default::default()
        };
        let config = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            log_path: format!("{name}.log"),
            linux: Some(linux),
            ..Default::default()
        };
        Self {
            pod,
            image: Image::Busybox,
            config,
        }
    }

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

    /// Other namespaces than its own for processes and the pod's for everything else.
    #[must_use]
    pub fn namespaces(self, change: impl FnOnce(&mut v1::NamespaceOption)) -> Self {
        self.config(|config| {
            let linux = config.linux.get_or_insert_default();
            let security = linux.security_context.get_or_insert_default();
            change(security.namespace_options.get_or_insert_default());
        })
    }

    /// The process namespace of the pod.
    #[must_use]
    pub fn shared_pid(self) -> Self {
        self.namespaces(|options| options.pid = v1::NamespaceMode::Pod.into())
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

    /// Its events are these: see [`Events::are`](crate::events::Events::are).
    #[track_caller]
    pub fn has_events<const N: usize>(&self, topics: [&str; N]) {
        self.pod.node.events().are(&self.id, topics);
    }

    /// CRI `Exec` with both outputs, or with a terminal; and standard input.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn exec_stream(&self, command: &[&str], tty: bool) -> Result<Stream, Error> {
        let answer = self.pod.cri.exec(v1::ExecRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            tty,
            stdin: true,
            stdout: true,
            stderr: !tty,
        })?;
        Ok(Stream::connect(&answer.url)?)
    }

    /// CRI `Attach` with all streams of the container; `tty` as it was created.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn attach(&self, tty: bool) -> Result<Stream, Error> {
        let answer = self.pod.cri.attach(v1::AttachRequest {
            container_id: self.id.clone(),
            stdin: true,
            tty,
            stdout: true,
            stderr: !tty,
        })?;
        Ok(Stream::connect(&answer.url)?)
    }

    /// CRI `ReopenContainerLog`, after the file was moved away.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn reopen_log(&self) -> Result<(), cri::Error> {
        let request = v1::ReopenContainerLogRequest {
            container_id: self.id.clone(),
        };
        self.pod.cri.reopen_container_log(request)?;
        Ok(())
    }

    /// CRI `UpdateContainerResources`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn update(&self, linux: v1::LinuxContainerResources) -> Result<(), cri::Error> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: self.id.clone(),
            linux: Some(linux),
            ..Default::default()
        };
        self.pod.cri.update_container_resources(request)?;
        Ok(())
    }

    /// The node's process id of its first process.
    ///
    /// # Errors
    /// When it has no task.
    pub fn pid(&self) -> Result<i32, Error> {
        let mut tasks = self.pod.node.containerd().ctr_in("k8s.io").tasks()?;
        Ok(tasks.remove(&self.id).ok_or("no task")?.pid)
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

    /// CRI `Exec` with a terminal and an input, attached.
    ///
    /// # Errors
    /// containerd's answer, or that of its streaming server.
    pub fn exec_on_terminal(&self, command: &[&str]) -> Result<Attached, Error> {
        let answer = self.pod.cri.exec(v1::ExecRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            tty: true,
            stdin: true,
            stdout: true,
            stderr: false,
        })?;
        Ok(Attached::connect(&answer.url)?)
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
