//! The shim's containers: one, or those of a pod.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerd_shim_protos::api::{CreateTaskRequest, DeleteResponse};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::Notify;

use crate::container::Container;
use crate::container::deps::Deps;
use crate::error::{Error, Result};

/// The shim's containers.
pub struct Shim {
    /// What every container of the shim shares.
    pub deps: Arc<Deps>,
    containers: Mutex<HashMap<String, Slot>>,
    exit: Notify,
    create_failed: Notify,
    /// The mount that the shim runs from is closed, see [`crate::host::own_binary`].
    binary_settled: Shared<BoxFuture<'static, ()>>,
}

enum Slot {
    Creating,
    Ready(Arc<Container>),
}

impl Shim {
    /// A shim without containers.
    pub fn new(deps: Deps, binary_settled: impl Future + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            deps: Arc::new(deps),
            containers: Mutex::default(),
            exit: Notify::new(),
            create_failed: Notify::new(),
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

    /// All containers, for a dump of the state.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        let ready = |slot: &Slot| match slot {
            Slot::Ready(container) => Some(Arc::clone(container)),
            Slot::Creating => None,
        };
        self.lock().values().filter_map(ready).collect()
    }

    /// Creates a container; returns its pid.
    pub async fn create(self: &Arc<Self>, request: CreateTaskRequest) -> Result<u32> {
        let id = request.id.clone();
        {
            let mut containers = self.lock();
            if containers.contains_key(&id) || self.deps.taken.contains(&id) {
                return Err(Error::AlreadyExists(format!(
                    "container {id} exists already"
                )));
            }
            containers.insert(id.clone(), Slot::Creating);
        }
        let created = Container::create(&self.deps, request).await;
        // No process of ours joins a container before its Create has succeeded.
        self.binary_settled.clone().await;
        let mut containers = self.lock();
        match created {
            Ok(container) => {
                let pid = container.pid();
                containers.insert(id, Slot::Ready(container));
                Ok(pid)
            }
            Err(e) => {
                containers.remove(&id);
                self.create_failed.notify_waiters();
                Err(e)
            }
        }
    }

    /// Deletes a container that has ended or was never started.
    pub async fn delete(&self, container: &Arc<Container>) -> Result<DeleteResponse> {
        let response = container.delete().await?;
        self.lock().remove(&container.id);
        Ok(response)
    }

    /// Ends the shim unless it still has containers.
    pub fn shutdown_if_empty(&self) {
        if self.lock().is_empty() {
            self.exit.notify_one();
        }
    }

    /// Whether there is no container, nor one being created.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether any container has a process, or is about to.
    pub fn runs_anything(&self) -> bool {
        self.lock().values().any(|slot| match slot {
            Slot::Creating => true,
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
