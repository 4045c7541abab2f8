//! The shim's containers: one, or those of a pod.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containerd_shim_protos::api::{CreateTaskRequest, DeleteResponse};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::Notify;

use crate::container::Container;
use crate::container::deps::Deps;
use crate::error::{Error, Result};
use crate::host::bundle;
use crate::sandbox::Sandbox;

/// The shim's containers.
pub struct Shim {
    /// What every container of the shim shares.
    pub deps: Arc<Deps>,
    containers: Mutex<HashMap<String, Slot>>,
    exit: Notify,
    /// Shutdown came when only Creates that were given up were under way.
    ends: AtomicBool,
    create_failed: Notify,
    /// The pod, where it has no pause container.
    sandbox: Mutex<Option<Arc<Sandbox>>>,
    /// Held while the pod is made.
    pod_is_made: tokio::sync::Mutex<()>,
    /// There was one, and containerd has ended it.
    was_pod: AtomicBool,
    /// The mount that the shim runs from is closed, see [`crate::host::own_binary`].
    binary_settled: Shared<BoxFuture<'static, ()>>,
}

/// The pauses between two tries to delete a container whose Create was given up, and how many there are: about 15 s.
const PAUSE: Duration = Duration::from_millis(250);
const TRIES: u32 = 6;

enum Slot {
    Creating {
        /// containerd has asked for its Delete meanwhile, and will never know of it.
        given_up: bool,
    },
    Ready(Arc<Container>),
}

impl Slot {
    fn is_given_up(&self) -> bool {
        matches!(self, Self::Creating { given_up: true })
    }
}

impl Shim {
    /// A shim without containers.
    pub fn new(deps: Deps, binary_settled: impl Future + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            deps: Arc::new(deps),
            containers: Mutex::default(),
            exit: Notify::new(),
            ends: AtomicBool::new(false),
            create_failed: Notify::new(),
            sandbox: Mutex::default(),
            pod_is_made: tokio::sync::Mutex::default(),
            was_pod: AtomicBool::new(false),
            binary_settled: binary_settled.map(drop).boxed().shared(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub fn container(&self, id: &str) -> Result<Arc<Container>> {
        match self.lock().get(id) {
            Some(Slot::Ready(container)) => Ok(Arc::clone(container)),
            _ => Err(Error::NotFound("container not created".to_owned())),
        }
    }

    fn pod(&self) -> MutexGuard<'_, Option<Arc<Sandbox>>> {
        self.sandbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sandbox, if it has this id.
    pub fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        let found = self
            .pod()
            .as_ref()
            .filter(|sandbox| sandbox.id == id)
            .cloned();
        found.ok_or_else(|| Error::NotFound(format!("sandbox {id} not created")))
    }

    /// Makes the pod; a shim has one at the most.
    pub async fn create_sandbox(
        &self,
        id: &str,
        bundle: &Path,
        options: Option<&Any>,
        network: &str,
    ) -> Result<()> {
        let _making = self.pod_is_made.lock().await;
        if self.pod().is_some() {
            return Err(Error::AlreadyExists(format!("sandbox {id} exists already")));
        }
        if self.was_pod() {
            return Err(Error::FailedPrecondition(
                "the shim is shut down".to_owned(),
            ));
        }
        let made = Sandbox::create(&self.deps, id, bundle, options, network).await?;
        // No process of ours joins a container before this.
        self.binary_settled.clone().await;
        *self.pod() = Some(made);
        Ok(())
    }

    /// Ends the pod, and the shim after its answer. containerd asks for it after a CreateSandbox that was refused, too.
    pub async fn shutdown_sandbox(&self, id: &str) -> Result<()> {
        // A CreateSandbox that was given up may be under way still.
        let _made = self.pod_is_made.lock().await;
        let idle = self.lock().is_empty();
        let sandbox = match self.sandbox(id) {
            Err(_) if idle && self.pod().is_none() => None,
            found => Some(found?),
        };
        if !idle {
            return Err(Error::FailedPrecondition(format!(
                "sandbox {id} has containers still"
            )));
        }
        if let Some(sandbox) = sandbox {
            sandbox.stop().await?;
        }
        *self.pod() = None;
        self.was_pod.store(true, Ordering::Relaxed);
        self.exit.notify_one();
        Ok(())
    }

    /// Whether there is a pod without containers whose bundle is gone.
    pub fn has_forgotten_pod(&self) -> bool {
        self.lock().is_empty() && self.pod().as_ref().is_some_and(|pod| pod.is_lost())
    }

    /// Ends a pod that containerd has forgotten.
    pub async fn forget_pod(&self) {
        let pod = self.pod().clone();
        if let Some(sandbox) = pod {
            log::warn!(id = sandbox.id.as_str(); "containerd has removed the pod's bundle: the pod ends");
            if let Err(e) = sandbox.stop().await {
                log::error!(id = sandbox.id.as_str(); "{e}");
                return;
            }
        }
        *self.pod() = None;
        self.exit.notify_one();
    }

    /// Whether containerd has ended the pod that this shim was.
    pub fn was_pod(&self) -> bool {
        self.was_pod.load(Ordering::Relaxed)
    }

    /// All containers, for a dump of the state.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        let ready = |slot: &Slot| match slot {
            Slot::Ready(container) => Some(Arc::clone(container)),
            Slot::Creating { .. } => None,
        };
        self.lock().values().filter_map(ready).collect()
    }

    /// Creates a container; returns its pid.
    pub async fn create(self: &Arc<Self>, request: CreateTaskRequest) -> Result<u32> {
        let id = request.id.clone();
        self.forget_lost(&id, Path::new(&request.bundle)).await;
        {
            let mut containers = self.lock();
            if containers.contains_key(&id) || self.deps.taken.contains(&id) {
                return Err(Error::AlreadyExists(format!(
                    "container {id} exists already"
                )));
            }
            containers.insert(id.clone(), Slot::Creating { given_up: false });
        }
        let created = self.create_in_pod(request).await;
        // No process of ours joins a container before its Create has succeeded.
        self.binary_settled.clone().await;
        let error = match created.map(|container| self.keep(&id, container)) {
            Ok(Ok(pid)) => return Ok(pid),
            Ok(Err(container)) => undo(&container).await,
            Err(e) => e,
        };
        let mut containers = self.lock();
        containers.remove(&id);
        self.create_failed.notify_waiters();
        if self.ends.load(Ordering::Relaxed) && containers.is_empty() {
            self.exit.notify_one();
        }
        Err(error)
    }

    async fn create_in_pod(&self, request: CreateTaskRequest) -> Result<Arc<Container>> {
        let sandbox = self.pod().clone();
        if let Some(sandbox) = &sandbox {
            sandbox.complete(Path::new(&request.bundle))?;
        }
        let scopes = sandbox.is_some_and(|sandbox| sandbox.systemd);
        Container::create(&self.deps, request, scopes).await
    }

    /// The verb `delete` has ended a container that this shim has still: containerd has lost the connection over which it was
    /// asked for, and takes its shim for dead. The next one of that id comes with a new bundle.
    async fn forget_lost(&self, id: &str, bundle: &Path) {
        let Ok(container) = self.container(id) else {
            return;
        };
        if bundle::has_init(bundle) || !container.forget().await {
            return;
        }
        log::warn!(id = id; "containerd has lost this container, and makes another one");
        let mut containers = self.lock();
        let is_it = |slot: &Slot| matches!(slot, Slot::Ready(now) if Arc::ptr_eq(now, &container));
        if containers.get(id).is_some_and(is_it) {
            containers.remove(id);
        }
    }

    /// A container that was created is one of the shim's, unless its Create was given up meanwhile: then it comes back.
    fn keep(&self, id: &str, container: Arc<Container>) -> Result<u32, Arc<Container>> {
        let mut containers = self.lock();
        if containers.get(id).is_some_and(Slot::is_given_up) {
            return Err(container);
        }
        let pid = container.pid();
        containers.insert(id.to_owned(), Slot::Ready(container));
        Ok(pid)
    }

    /// The container that is to be deleted. One that is being created is given up, and deleted as soon as it is there: so
    /// containerd asks when its client has given the Create up, or when it was started again amid it, and not once more.
    pub fn to_delete(&self, id: &str) -> Result<Arc<Container>> {
        if let Some(Slot::Creating { given_up }) = self.lock().get_mut(id) {
            log::info!(id = id; "deleted while it is created");
            *given_up = true;
        }
        self.container(id)
    }

    /// Deletes a container that has ended or was never started.
    pub async fn delete(&self, container: &Arc<Container>) -> Result<DeleteResponse> {
        let response = container.delete().await?;
        self.lock().remove(&container.id);
        Ok(response)
    }

    /// Ends the shim unless it still has containers; where their Creates were given up, as soon as these are over.
    pub fn shutdown_if_empty(&self) {
        // containerd asks for that after each container; this shim is the pod's.
        if self.has_pod() {
            return;
        }
        let containers = self.lock();
        if containers.is_empty() {
            self.exit.notify_one();
        } else if containers.values().all(Slot::is_given_up) {
            self.ends.store(true, Ordering::Relaxed);
        }
    }

    /// A container was deleted, and who has asked for that is gone: a containerd that was started again meanwhile asks for no
    /// Shutdown, since it finds no task. One whose shim ends cleans up after it.
    pub fn deleted_unheard(&self) {
        if self.is_empty() {
            log::info!("nobody hears that the last container is deleted: the shim ends");
            self.exit.notify_one();
        }
    }

    /// Whether there is no pod, and no container, nor one being created.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty() && !self.has_pod()
    }

    /// Whether there is a pod, or one is being made.
    fn has_pod(&self) -> bool {
        self.pod().is_some() || self.pod_is_made.try_lock().is_err()
    }

    /// Whether any container has a process, or is about to.
    pub fn runs_anything(&self) -> bool {
        if self.pod().as_ref().is_some_and(|sandbox| sandbox.runs()) {
            return true;
        }
        self.lock().values().any(|slot| match slot {
            Slot::Creating { .. } => true,
            Slot::Ready(container) => container.runs(),
        })
    }

    /// Waits for a Create that fails.
    pub async fn create_failed(&self) {
        self.create_failed.notified().await;
    }

    /// Waits for Shutdown.
    pub async fn wait(&self) {
        self.exit.notified().await;
    }
}

/// Deletes a container whose Create was given up; gives the answer to that.
async fn undo(container: &Arc<Container>) -> Error {
    let id = &container.id;
    let mut pause = PAUSE;
    for _ in 0..TRIES {
        match container.delete().await {
            // `delete` may have been there before.
            Ok(_) | Err(Error::NotFound(_)) => break,
            Err(e) => log::warn!(id = id.as_str(); "delete a container that was given up: {e}"),
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2);
    }
    Error::NotFound(format!("container {id} was deleted while it was created"))
}
