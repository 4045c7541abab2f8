//! The pods of a containerd: sandboxes and containers put together, and what podhook knows of them.

mod api;
pub mod context;
pub mod detached;
mod error;
pub mod log;
mod query;
mod resource;
pub mod row;
mod sandbox;
mod selector;
pub mod termination;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_cri::v1::{
    ContainerFilter, ContainerStatus, ContainerStatusRequest, ListContainersRequest,
    ListPodSandboxRequest, PodSandbox, PodSandboxFilter, PodSandboxStatus, PodSandboxStatusRequest,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use crate::cri;
use crate::manifest;
use crate::store::{Deletion, Store};

pub use api::{START_ERROR, object};
pub use error::Error;
pub use query::Query;
pub use resource::{pod_name, pods};
pub use sandbox::remove_sandbox;
pub use selector::Selector;

/// How long a pod's removal may take once containerd has closed its connection to the shim.
const REMOVAL: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
pub struct PodView {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Its sandboxes, the newest first. A pod of podhook has one, or none while it is being made;
    /// the kubelet makes another when the first one died.
    pub sandboxes: Vec<PodSandbox>,
    /// The status of the newest sandbox.
    pub status: Option<PodSandboxStatus>,
    /// The newest container of each name, in the order of the manifest, else of creation.
    pub containers: Vec<ContainerStatus>,
    /// The manifest, when podhook made the pod.
    pub manifest: Option<Pod>,
    /// Set while the pod is being deleted.
    pub deletion: Option<Deletion>,
    /// Since when there is this pod.
    pub created: Option<Timestamp>,
}

impl PodView {
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        match self.sandboxes.first() {
            Some(sandbox) => sandbox.labels.clone().into_iter().collect(),
            None => self
                .manifest
                .iter()
                .filter_map(|m| m.metadata.labels.clone())
                .flatten()
                .collect(),
        }
    }

    fn annotation(&self, key: &str) -> Option<&String> {
        match self.sandboxes.first() {
            Some(sandbox) => sandbox.annotations.get(key),
            None => self
                .manifest
                .as_ref()?
                .metadata
                .annotations
                .as_ref()?
                .get(key),
        }
    }

    /// The container of this name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.iter().find(|c| container_name(c) == name)
    }

    /// The containers' names; those of the manifest that do not exist yet too.
    #[must_use]
    pub fn container_names(&self) -> Vec<&str> {
        match self.manifest.as_ref().and_then(|m| m.spec.as_ref()) {
            Some(spec) => spec.containers.iter().map(|c| c.name.as_str()).collect(),
            None => self.containers.iter().map(container_name).collect(),
        }
    }

    /// The container that a command without `-c` means: the annotation
    /// `kubectl.kubernetes.io/default-container`, else the first one. With several, kubectl says
    /// on stderr which one it took.
    ///
    /// # Errors
    /// When the named container is not of this pod.
    pub fn choose_container(&self, wanted: Option<&str>) -> Result<String, Error> {
        let names = self.container_names();
        let annotation = self
            .annotation("kubectl.kubernetes.io/default-container")
            .map(String::as_str);
        let refused = |name: &str| Error::Server {
            code: "BadRequest",
            message: format!("container {name} is not valid for pod {}", self.name),
        };
        match wanted.or_else(|| annotation.filter(|name| names.contains(name))) {
            Some(name) if names.contains(&name) => Ok(name.to_owned()),
            Some(name) => Err(refused(name)),
            None => {
                let first = names.first().ok_or_else(|| refused(""))?;
                if names.len() > 1 {
                    eprintln!("Defaulted container {first:?} out of: {}", names.join(", "));
                }
                Ok((*first).to_owned())
            }
        }
    }
}

/// The name of a container of a pod.
#[must_use]
pub fn container_name(container: &ContainerStatus) -> &str {
    container.metadata.as_ref().map_or("", |m| m.name.as_str())
}

/// All pods, or those of a namespace, or the one of a name; sorted by namespace and name.
///
/// # Errors
/// When containerd does not answer, or a file of podhook's cannot be read.
pub async fn list(
    client: &cri::Client,
    store: &Store,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<Vec<PodView>, Error> {
    let labels = [
        (manifest::POD_NAMESPACE, namespace),
        (manifest::POD_NAME, name),
    ];
    let filter = PodSandboxFilter {
        label_selector: labels
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
            .collect(),
        ..Default::default()
    };
    let sandboxes = client
        .runtime
        .clone()
        .list_pod_sandbox(ListPodSandboxRequest {
            filter: Some(filter),
        })
        .await
        .map_err(cri::Error::call("ListPodSandbox"))?
        .into_inner()
        .items;
    let mut pods: BTreeMap<(String, String, String), Vec<PodSandbox>> = BTreeMap::new();
    for sandbox in sandboxes {
        let meta = sandbox.metadata.clone().unwrap_or_default();
        pods.entry((meta.namespace, meta.name, meta.uid))
            .or_default()
            .push(sandbox);
    }
    let mut views = Vec::new();
    for ((namespace, name, uid), mut sandboxes) in pods {
        sandboxes.sort_by_key(|s| std::cmp::Reverse(s.created_at));
        views.push(view(client, store, namespace, name, uid, sandboxes).await?);
    }
    views.extend(unknown(store, &views, namespace, name)?);
    views.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(views)
}

/// The pods that containerd does not know: those that another command is making, and those of which a deletion
/// could not remove everything, so that it can be tried again.
fn unknown(
    store: &Store,
    known: &[PodView],
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<Vec<PodView>, Error> {
    let mut views = Vec::new();
    for uid in store.uids()? {
        // Another client's pod may have the same UID.
        if known
            .iter()
            .any(|pod| pod.uid == uid && pod.manifest.is_some())
        {
            continue;
        }
        let Some(pod) = store.pod(&uid)? else {
            continue;
        };
        let created = store.being_made_since(&uid)?;
        let deletion = store.deletion(&uid)?;
        if created.is_none() && deletion.is_none() {
            continue;
        }
        let view = PodView {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            sandboxes: Vec::new(),
            status: None,
            containers: Vec::new(),
            manifest: Some(pod),
            deletion,
            created,
            uid,
        };
        let asked = |wanted: Option<&str>, is: &str| wanted.is_none_or(|wanted| wanted == is);
        if asked(namespace, &view.namespace) && asked(name, &view.name) {
            views.push(view);
        }
    }
    Ok(views)
}

/// The pod of this name.
///
/// # Errors
/// NotFound, in kubectl's words.
pub async fn get(
    client: &cri::Client,
    store: &Store,
    namespace: &str,
    name: &str,
) -> Result<PodView, Error> {
    // Two pods of one name: the older one is on its way out (a kubelet's static pod).
    let newest = |pod: &PodView| pod.created;
    list(client, store, Some(namespace), Some(name))
        .await?
        .into_iter()
        .max_by_key(newest)
        .ok_or_else(|| Error::no_pod(name))
}

async fn view(
    client: &cri::Client,
    store: &Store,
    namespace: String,
    name: String,
    uid: String,
    sandboxes: Vec<PodSandbox>,
) -> Result<PodView, Error> {
    let manifest = store.pod_named(&uid, &namespace, &name)?;
    let deletion = store.deletion_named(&uid, &namespace, &name)?;
    let status = match sandboxes.first() {
        Some(sandbox) => sandbox_status(client, &sandbox.id).await?,
        None => None,
    };
    let mut containers = containers(client, &uid).await?;
    if let Some(spec) = manifest.as_ref().and_then(|m| m.spec.as_ref()) {
        containers.sort_by_key(|c| {
            spec.containers
                .iter()
                .position(|s| s.name == container_name(c))
        });
    }
    let created = sandboxes.last().and_then(|s| api::timestamp(s.created_at));
    Ok(PodView {
        created,
        namespace,
        name,
        uid,
        sandboxes,
        status,
        containers,
        manifest,
        deletion,
    })
}

async fn sandbox_status(client: &cri::Client, id: &str) -> Result<Option<PodSandboxStatus>, Error> {
    let asked = Instant::now();
    loop {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: false,
        };
        let answer = client
            .runtime
            .clone()
            .pod_sandbox_status(request)
            .await
            .map_err(cri::Error::call("PodSandboxStatus"));
        match answer {
            Ok(answer) => return Ok(answer.into_inner().status),
            // Removed since it was listed.
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) if e.is_of_a_closed_shim() && asked.elapsed() < REMOVAL => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// The status of one container; `None` when there is none.
///
/// # Errors
/// When containerd does not answer.
pub async fn container_status(
    client: &cri::Client,
    id: &str,
) -> Result<Option<ContainerStatus>, cri::Error> {
    let request = ContainerStatusRequest {
        container_id: id.to_owned(),
        verbose: false,
    };
    let answer = client
        .runtime
        .clone()
        .container_status(request)
        .await
        .map_err(cri::Error::call("ContainerStatus"));
    match answer {
        Ok(answer) => Ok(answer.into_inner().status),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

/// The newest container of each name, in the order of creation.
async fn containers(client: &cri::Client, uid: &str) -> Result<Vec<ContainerStatus>, Error> {
    let filter = ContainerFilter {
        label_selector: [(manifest::POD_UID.to_owned(), uid.to_owned())].into(),
        ..Default::default()
    };
    let listed = client
        .runtime
        .clone()
        .list_containers(ListContainersRequest {
            filter: Some(filter),
        })
        .await
        .map_err(cri::Error::call("ListContainers"))?
        .into_inner()
        .containers;
    let mut newest: BTreeMap<String, ContainerStatus> = BTreeMap::new();
    for container in listed {
        let Some(status) = container_status(client, &container.id).await? else {
            continue;
        };
        let name = container_name(&status).to_owned();
        let newer = newest
            .get(&name)
            .is_none_or(|other| other.created_at < status.created_at);
        if newer {
            newest.insert(name, status);
        }
    }
    let mut containers: Vec<_> = newest.into_values().collect();
    containers.sort_by_key(|c| c.created_at);
    Ok(containers)
}
