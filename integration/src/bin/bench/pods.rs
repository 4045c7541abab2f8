//! Pods and containers by CRI, with any of the shims; each call is one call.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, process, thread};

use podhook_integration::containerd::remains;
use podhook_integration::cri::{Cri, v1};
use podhook_integration::handler::has_handler;
use podhook_integration::{Containerd, Image, wait};

use crate::Fallible;
use crate::shims::Shim;

/// What a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// The process of pod sandboxes: it ends on SIGTERM at once.
    Pause,
    /// busybox's sleep, and SIGTERM does not end it.
    Sleep,
    /// A shell that ends on SIGTERM at once.
    Script,
}

/// The shell waits for a child, since a trap runs when its command has ended; `wait` ends with the signal.
const SCRIPT: &str = "trap 'exit 0' TERM; sleep 1000000 & wait $!";

/// The pods of one containerd.
#[derive(Debug)]
pub struct Pods<'a> {
    containerd: &'a Containerd,
    cri: &'a Cri,
    parent: String,
    logs: PathBuf,
}

/// A pod sandbox; stopped and removed with its containers when dropped.
#[derive(Debug)]
pub struct Sandbox<'a> {
    cri: &'a Cri,
    config: v1::PodSandboxConfig,
    pub id: String,
    removed: AtomicBool,
}

fn number() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

impl<'a> Pods<'a> {
    /// Those of this containerd.
    ///
    /// # Errors
    /// Where there is no connection.
    pub fn new(containerd: &'a Containerd) -> Fallible<Self> {
        Ok(Self {
            containerd,
            cri: containerd.cri()?,
            parent: format!("/{}", containerd.id()),
            logs: containerd.dir().join("logs"),
        })
    }

    /// Waits until the first process of a container has a handler for SIGTERM: what ends a process that has none yet, as the
    /// first one of its namespace, is the grace period. Before it is executed it is a process of the OCI runtime, and one of
    /// runc's has handlers for everything.
    ///
    /// # Errors
    /// When it gets none.
    pub fn wait_ready(&self, container: &str, runs: Runs) -> Fallible<()> {
        let name = match runs {
            Runs::Pause => "pause",
            Runs::Sleep => "sleep",
            Runs::Script => "sh",
        };
        let bundle = self.containerd.bundle("k8s.io", container);
        let pid = fs::read_to_string(bundle.join("init.pid"))?;
        let status = PathBuf::from(format!("/proc/{}/status", pid.trim()));
        let begun = Instant::now();
        while !has_handler(&fs::read_to_string(&status)?, name, libc::SIGTERM) {
            if begun.elapsed() > wait::scaled(wait::SOON) {
                return Err(format!("{container} has no handler for SIGTERM").into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// What `RunPodSandbox` is asked for.
    #[must_use]
    pub fn config(&self) -> v1::PodSandboxConfig {
        let name = format!("bench-{}-{}", process::id(), number());
        // A process namespace per container, as the kubelet asks for.
        let namespaces = v1::NamespaceOption {
            pid: v1::NamespaceMode::Container.into(),
            ..Default::default()
        };
        let security = v1::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces),
            ..Default::default()
        };
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
                name: name.clone(),
            }),
            hostname: "pod".to_owned(),
            log_directory: self.logs.join(name).display().to_string(),
            linux: Some(v1::LinuxPodSandboxConfig {
                security_context: Some(security),
                cgroup_parent: self.parent.clone(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// `RunPodSandbox`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn run(&self, shim: Shim, config: v1::PodSandboxConfig) -> Fallible<Sandbox<'a>> {
        let request = v1::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: shim.handler().to_owned(),
        };
        let id = self.cri.run_pod_sandbox(request)?.pod_sandbox_id;
        Ok(Sandbox {
            cri: self.cri,
            config,
            id,
            removed: AtomicBool::new(false),
        })
    }

    /// A pod with a container that sleeps, and the id of that.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn asleep(&self, shim: Shim) -> Fallible<(Sandbox<'a>, String)> {
        let pod = self.run(shim, self.config())?;
        let container = pod.create(Runs::Sleep, None)?;
        pod.start(&container)?;
        Ok((pod, container))
    }

    /// One pod from its making to its end, with a look at whose shim it has: a configuration that containerd ignores would
    /// measure the original instead.
    ///
    /// # Errors
    /// containerd's answer, or another shim.
    pub fn trial(&self, containerd: &Containerd, shim: Shim) -> Fallible<()> {
        let (pod, container) = self.asleep(shim)?;
        let answer = self.exec_sync(&container, &["/bin/true"])?;
        if answer != 0 {
            return Err(format!("ExecSync of /bin/true: exit status {answer}").into());
        }
        let shims = remains::shims(&containerd.address());
        let found = shims.iter().find(|found| found.id == pod.id);
        let pid = found.ok_or("no process of the shim")?.pid;
        let used = fs::metadata(format!("/proc/{pid}/exe"))?;
        let wanted = fs::metadata(shim.program(containerd.generation())?)?;
        if (used.dev(), used.ino()) != (wanted.dev(), wanted.ino()) {
            return Err("the pod has another shim".into());
        }
        pod.stop()?;
        pod.remove()
    }

    /// `ExecSync`; its exit status.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn exec_sync(&self, container: &str, command: &[&str]) -> Fallible<i32> {
        let answer = self.cri.exec_sync(v1::ExecSyncRequest {
            container_id: container.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: 60,
        })?;
        Ok(answer.exit_code)
    }
}

impl Sandbox<'_> {
    /// The process that is there for it: pause, or podhook's holder.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn pid(&self) -> Fallible<i32> {
        Ok(self.cri.sandbox_pid(&self.id)?)
    }

    /// `CreateContainer`, with a lifecycle for podhook.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn create(&self, runs: Runs, lifecycle: Option<&str>) -> Fallible<String> {
        let (image, words) = match runs {
            Runs::Pause => (Image::Pause, &[][..]),
            Runs::Sleep => (Image::Busybox, &["sleep", "1000000"][..]),
            Runs::Script => (Image::Busybox, &["sh", "-c", SCRIPT][..]),
        };
        let name = format!("c{}", number());
        let mut config = v1::ContainerConfig {
            log_path: format!("{name}.log"),
            metadata: Some(v1::ContainerMetadata { name, attempt: 0 }),
            image: Some(v1::ImageSpec {
                image: image.reference().to_owned(),
                ..Default::default()
            }),
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            linux: Some(v1::LinuxContainerConfig {
                security_context: Some(v1::LinuxContainerSecurityContext {
                    namespace_options: Some(v1::NamespaceOption {
                        pid: v1::NamespaceMode::Container.into(),
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        if let Some(json) = lifecycle {
            let key = "podhook.dev/lifecycle".to_owned();
            config.annotations.insert(key, json.to_owned());
        }
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        Ok(self.cri.create_container(request)?.container_id)
    }

    /// `StartContainer`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn start(&self, container: &str) -> Fallible<()> {
        let limit = podhook_integration::cri::LIMIT;
        Ok(self.cri.start_container_within(container, limit)?)
    }

    /// `StopContainer`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn stop_container(&self, container: &str) -> Fallible<()> {
        self.cri.stop_container(v1::StopContainerRequest {
            container_id: container.to_owned(),
            timeout: 60,
        })?;
        Ok(())
    }

    /// `StopPodSandbox`.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn stop(&self) -> Fallible<()> {
        self.cri.stop_pod_sandbox(v1::StopPodSandboxRequest {
            pod_sandbox_id: self.id.clone(),
        })?;
        Ok(())
    }

    /// `RemovePodSandbox`, its containers included.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn remove(&self) -> Fallible<()> {
        self.cri.remove_pod_sandbox(v1::RemovePodSandboxRequest {
            pod_sandbox_id: self.id.clone(),
        })?;
        self.removed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Sandbox<'_> {
    fn drop(&mut self) {
        if !*self.removed.get_mut()
            && let Err(error) = self.stop().and_then(|()| self.remove())
        {
            eprintln!("pod {}: {error}", self.id);
        }
    }
}
