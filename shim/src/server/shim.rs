//! The shim's containers: one, or those of a pod.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerd_shim_protos::api::{CreateTaskRequest, DeleteResponse};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::Notify;

use crate::container::Container;
use crate::containerd::events::Publisher;
use crate::counters::Counting;
use crate::error::{Error, Result};
use crate::host::reaper::Reaper;

/// What every container of the shim shares.
pub struct Shim {
    /// containerd's namespace.
    pub namespace: String,
    /// Where containerd's clients connect.
    pub containerd: String,
    /// Where events go.
    pub publisher: Publisher,
    /// Who reaps.
    pub reaper: Arc<Reaper>,
    /// What is counted.
    pub counters: Arc<Counting>,
    containers: Mutex<HashMap<String, Slot>>,
    /// The ids of containers that are still to be cleared away.
    taken: Mutex<HashSet<String>>,
    exit: Notify,
    create_failed: Notify,
    /// The mount that the shim runs from is closed, see [`crate::host::own_binary`].
    binary_settled: Shared<BoxFuture<'static, ()>>,
}

/// An id that is taken.
pub struct Taken(Arc<Shim>, String);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.taken().remove(&self.1);
    }
}

enum Slot {
    Creating,
    Ready(Arc<Container>),
}

impl Shim {
    /// A shim without containers.
    pub fn new(
        namespace: String,
        containerd: String,
        publisher: Publisher,
        reaper: Arc<Reaper>,
        binary_settled: impl Future + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            namespace,
            containerd,
            publisher,
            reaper,
            counters: Counting::new(),
            containers: Mutex::default(),
            taken: Mutex::default(),
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

    fn taken(&self) -> MutexGuard<'_, HashSet<String>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `id`, for as long as this lives: no container can be created with it.
    pub fn take(self: &Arc<Self>, id: &str) -> Taken {
        self.taken().insert(id.to_owned());
        Taken(Arc::clone(self), id.to_owned())
    }

    /// The container `id`.
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
            if containers.contains_key(&id) || self.taken().contains(&id) {
                return Err(Error::AlreadyExists(format!(
                    "container {id} exists already"
                )));
            }
            containers.insert(id.clone(), Slot::Creating);
        }
        let created = Container::create(self, request).await;
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
