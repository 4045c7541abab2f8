//! A pod without a pause container: the Sandbox service's part of the shim. It holds the pod's namespaces by a process of
//! its own, and gives the pod's files to its containers.

pub mod config;
mod files;
mod holder;
mod member;
mod pinned;
mod place;
mod selinux;
mod spec;
mod sysctl;
mod wire;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::proto::MESSAGE_LENGTH_MAX;
use podhook_hooks::config_json::FILE_NAME;
use podhook_hooks::deadline;
use podhook_hooks::task;
use serde_json::{Value, json};
use tokio::sync::SetOnce;

use crate::cgroup::{Cgroup, Leftover, scope};
use crate::container::deps::{Deps, Held};
use crate::container::process::ExitInfo;
use crate::containerd::options::Options;
use crate::error::{Error, Result};
use crate::host::exit_status::KILLED;
use crate::host::{apart, bundle, file};
use config::PodSandboxConfig;
use files::Files;
use pinned::Pinned;
use place::Place;

pub use files::unmount;

/// There in the bundle of a sandbox: the verb `delete` has no OCI runtime to call.
const MARK: &str = "podsandbox";
/// The bytes of a specification, or of what is shown of a pod, that are let into an answer: the rest of it, and the paths
/// of the namespaces that are pinned, have room beside them.
const ANSWER_MAX: usize = MESSAGE_LENGTH_MAX - (64 << 10);
/// How long what is dying in the cgroup may take to be gone.
const CGROUP_LIMIT: Duration = Duration::from_secs(2);
/// How long a holder that was killed may take to end: one in a cgroup that is frozen does not before it is thawed.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Whether this is the bundle of a sandbox.
pub fn is_bundle(bundle: &Path) -> bool {
    bundle.join(MARK).exists()
}

/// What is told of a sandbox.
pub struct Status {
    /// As CRI names it.
    pub state: &'static str,
    /// Of the holder, while that runs.
    pub pid: u32,
    pub created_at: SystemTime,
    pub exit: Option<ExitInfo>,
}

/// How far it is.
enum Stage {
    Created,
    /// The holder is being started.
    Starting,
    Ready {
        pid: u32,
        held: Option<Arc<dyn Held>>,
    },
    /// It has ended, or will never be started.
    NotReady,
}

pub struct Sandbox {
    pub id: String,
    place: Place,
    config: PodSandboxConfig,
    network: String,
    files: Files,
    cgroups_path: String,
    /// Whether the pod's cgroups are systemd's: those of its containers, too.
    pub systemd: bool,
    created_at: SystemTime,
    stage: Mutex<Stage>,
    pinned: Mutex<Pinned>,
    exit: SetOnce<ExitInfo>,
    /// Held over start and stop.
    operation: tokio::sync::Mutex<()>,
}

impl Sandbox {
    /// A sandbox with its files. What a failure leaves behind is removed.
    pub async fn create(
        deps: &Deps,
        id: &str,
        bundle: &Path,
        options: Option<&Any>,
        network: &str,
    ) -> Result<Arc<Self>> {
        let config = PodSandboxConfig::decode(options)?;
        sysctl::check(&config)?;
        let (cgroups_path, systemd) = spec::cgroups_path(&config, &deps.namespace, id);
        let sandbox = Arc::new(Self {
            files: Files::of(bundle, &config),
            id: id.to_owned(),
            place: Place::of(bundle)?,
            network: network.to_owned(),
            created_at: SystemTime::now(),
            stage: Mutex::new(Stage::Created),
            pinned: Mutex::default(),
            exit: SetOnce::new(),
            operation: tokio::sync::Mutex::default(),
            config,
            cgroups_path,
            systemd,
        });
        let made = {
            let sandbox = Arc::clone(&sandbox);
            apart::start(move || sandbox.make_files()).await
        };
        if let Err(e) = made.unwrap_or_else(|e| Err(Error::failed("make the pod's files")(e))) {
            sandbox.unmount().await;
            return Err(e);
        }
        Ok(sandbox)
    }

    fn make_files(&self) -> Result<()> {
        file::write_private(&self.place.bundle().join(MARK), b"")?;
        let options = Options {
            systemd_cgroup: self.systemd,
            ..Options::default()
        };
        options.save(self.place.bundle())?;
        let spec = self.spec().to_string();
        if spec.len() > ANSWER_MAX {
            let length = spec.len();
            return Err(Error::InvalidArgument(format!(
                "the pod's specification, with its annotations, has {length} bytes; {ANSWER_MAX} at most"
            )));
        }
        file::write_private(&self.place.bundle().join(FILE_NAME), spec.as_bytes())?;
        self.files.make(&self.config)
    }

    fn spec(&self) -> Value {
        spec::spec(
            &self.config,
            &self.id,
            &self.network,
            &self.cgroups_path,
            &self.pinned(),
        )
    }

    fn pinned(&self) -> MutexGuard<'_, Pinned> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cgroup(&self) -> Leftover {
        Leftover::of(&self.cgroups_path, self.systemd)
    }

    /// Starts the holder; its pid, and the pod's specification.
    pub async fn start(self: &Arc<Self>, deps: &Deps) -> Result<(u32, Any)> {
        let _operation = self.operation.lock().await;
        {
            let mut stage = self.stage();
            match *stage {
                Stage::Created => *stage = Stage::Starting,
                Stage::NotReady => {
                    return Err(Error::FailedPrecondition(format!(
                        "sandbox {} has ended",
                        self.id
                    )));
                }
                Stage::Starting | Stage::Ready { .. } => {
                    return Err(Error::AlreadyExists(format!(
                        "sandbox {} is started already",
                        self.id
                    )));
                }
            }
        }
        match self.start_holder(deps).await {
            Ok(pid) => Ok((pid, spec::as_any(&self.spec()))),
            Err(e) => {
                // It may run: what it was to be told, or what was to be written of it, has failed.
                if let Err(left) = self.end(KILLED).await {
                    log::error!(id = self.id.as_str(); "{left}");
                }
                Err(e)
            }
        }
    }

    async fn start_holder(self: &Arc<Self>, deps: &Deps) -> Result<u32> {
        let cgroup = self.cgroup();
        if !self.systemd {
            cgroup.make().map_err(Error::lower)?;
            if let Some(frozen) = cgroup.frozen() {
                let frozen = frozen.display();
                return Err(Error::FailedPrecondition(format!(
                    "cgroup {frozen} is frozen"
                )));
            }
        }
        let children = deps.children.as_ref();
        let holder = holder::start(&self.config, &self.network, &cgroup, children).await?;
        let held = match deps.system.hold(holder.pid) {
            Ok(held) => held,
            Err(e) => {
                holder.kill().await;
                return Err(e);
            }
        };
        let pid = holder.pid.cast_unsigned();
        *self.stage() = Stage::Ready { pid, held };
        let watched = Arc::clone(self);
        task::spawn(async move {
            let status = holder.exit.await.map_or(KILLED, |exit| exit.status());
            watched.over(status);
        });
        *self.pinned() = Pinned::of(pid, self.config.namespaces())?;
        // For the verb `delete`.
        file::write_private(
            &self.place.bundle().join(bundle::INIT_PID),
            pid.to_string().as_bytes(),
        )?;
        if self.systemd {
            scope::start(&self.cgroups_path, pid, children).await?;
            // Of version 1 systemd has the one hierarchy that is its own.
            if !cgroup.is_unified() {
                cgroup.make().map_err(Error::lower)?;
                cgroup.join(pid).map_err(Error::lower)?;
            }
        }
        Ok(pid)
    }

    /// The holder has ended, or will never be.
    fn over(&self, status: u32) {
        *self.stage() = Stage::NotReady;
        // The first end counts.
        let _ = self.exit.set(ExitInfo {
            status,
            at: SystemTime::now(),
        });
    }

    /// Ends the holder, and removes what only it needs. Again, it does nothing.
    ///
    /// # Errors
    /// Where it may not be killed, or does not end. It may be tried again.
    pub async fn stop(&self) -> Result<()> {
        let _operation = self.operation.lock().await;
        self.end(0).await
    }

    /// The same for who has the operation; one that was never started has ended with `otherwise`.
    async fn end(&self, otherwise: u32) -> Result<()> {
        // The kernel's part of it takes time: it begins while the holder ends.
        let unmounted = self.unmount();
        let held = match &*self.stage() {
            Stage::Ready { held, .. } => Some(held.clone()),
            _ => None,
        };
        match held {
            Some(held) => {
                self.kill(held.as_deref()).await?;
            }
            None => self.over(otherwise),
        }
        self.clear(unmounted).await;
        Ok(())
    }

    async fn kill(&self, held: Option<&dyn Held>) -> Result<()> {
        match held.map_or(Ok(()), |held| held.signal(libc::SIGKILL)) {
            // It is about to be seen.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            killed => killed.map_err(Error::sys("kill the pod's holder"))?,
        }
        let ended = tokio::time::timeout(KILL_LIMIT, self.wait()).await;
        ended.map(drop).map_err(|_| {
            let frozen = self.cgroup().frozen();
            let why = frozen.map_or_else(String::new, |dir| {
                format!(": cgroup {} is frozen", dir.display())
            });
            Error::FailedPrecondition(format!("the pod's holder is killed, and does not end{why}"))
        })
    }

    /// Removes what a holder that has ended leaves; `unmounted`: of [`Self::unmount`].
    async fn clear(&self, unmounted: impl Future<Output = ()>) {
        *self.pinned() = Pinned::default();
        let cgroup = self.cgroup();
        let removed =
            apart::start(move || cgroup.remove(deadline::after(Instant::now(), CGROUP_LIMIT)));
        unmounted.await;
        if let Ok(Err(e)) = removed.await {
            // The verb `delete` tries again.
            log::warn!(id = self.id.as_str(); "{e}");
            return;
        }
        // For the verb `delete`, which has nothing left to do then.
        if !self.place.is_lost()
            && let Err(e) = bundle::mark_deleted(self.place.bundle())
        {
            log::warn!(id = self.id.as_str(); "{e}");
        }
    }

    /// Begins to unmount the pod's files at once. The future waits for it.
    fn unmount(&self) -> impl Future<Output = ()> + use<> {
        let (id, place) = (self.id.clone(), self.place.clone());
        let unmounted = apart::start(move || place.clear());
        async move {
            if let Ok(Err(e)) = unmounted.await {
                log::warn!(id = id.as_str(); "{e}");
            }
        }
    }

    /// Whether containerd has removed its bundle: it has forgotten the pod then.
    pub fn is_lost(&self) -> bool {
        self.place.is_lost()
    }

    /// Waits for its end.
    pub async fn wait(&self) -> ExitInfo {
        *self.exit.wait().await
    }

    pub fn status(&self) -> Status {
        let (state, pid) = match *self.stage() {
            Stage::Ready { pid, .. } => ("SANDBOX_READY", pid),
            _ => ("SANDBOX_NOTREADY", 0),
        };
        Status {
            state,
            pid,
            created_at: self.created_at,
            exit: self.exit.get().copied(),
        }
    }

    /// Whether the holder runs, or is about to.
    pub fn runs(&self) -> bool {
        matches!(*self.stage(), Stage::Starting | Stage::Ready { .. })
    }

    /// What `crictl inspectp` shows, as containerd's own controller words it.
    pub fn info(&self) -> String {
        let status = self.status();
        let process = match *self.stage() {
            Stage::Created | Stage::Starting => "created",
            Stage::Ready { .. } => "running",
            Stage::NotReady => "deleted",
        };
        let mut info = json!({
            "pid": status.pid,
            "processStatus": process,
            "netNamespaceClosed": !self.network.is_empty() && !Path::new(&self.network).exists(),
            "image": "", "snapshotKey": "", "snapshotter": "",
            "runtimeType": crate::RUNTIME_NAME,
            "runtimeOptions": null,
            "config": self.config,
            "runtimeSpec": self.spec(),
        });
        let mut text = info.to_string();
        // What an answer has no room for is left out.
        for part in ["runtimeSpec", "config"] {
            if text.len() > ANSWER_MAX
                && let Some(shown) = info.get_mut(part)
            {
                *shown = Value::Null;
                text = info.to_string();
            }
        }
        text
    }

    /// The metrics of the pod's cgroup.
    pub fn metrics(&self) -> Result<Any> {
        let Stage::Ready { pid, .. } = *self.stage() else {
            return Err(Error::NotFound("cgroup does not exist".to_owned()));
        };
        let own = Cgroup::of_pid(pid.cast_signed()).map_err(Error::lower)?;
        own.parent().stats().map_err(Error::lower)
    }

    /// Gives a container what the pod has for it.
    pub fn complete(&self, bundle: &Path) -> Result<()> {
        member::complete(bundle, &self.files, &self.config.annotations)
    }
}
