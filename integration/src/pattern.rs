//! Containers after a pattern that ctr has made once: without a process of ctr for each.

use std::collections::HashMap;

use containerd_client::services::v1 as api;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{
    PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use containerd_client::services::v1::tasks_client::TasksClient;
use prost_types::Any;
use serde_json::{Value, json};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Keeps a snapshot that no container names yet from containerd's garbage collection.
const ROOT: &str = "containerd.io/gc.root";

/// The container that the others are made after, and the connection.
#[derive(Debug, Clone)]
pub struct Pattern {
    pub channel: Channel,
    pub namespace: String,
    container: api::Container,
    parent: String,
}

impl Pattern {
    /// That of a container without a task.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn of(channel: Channel, namespace: &str, id: &str) -> Result<Self, Error> {
        let mut this = Self {
            channel,
            namespace: namespace.to_owned(),
            container: api::Container::default(),
            parent: String::new(),
        };
        let request = this.request(api::GetContainerRequest { id: id.to_owned() });
        let answer = this.containers().get(request).await?.into_inner();
        this.container = answer.container.ok_or("no container")?;
        let request = this.request(StatSnapshotRequest {
            snapshotter: this.container.snapshotter.clone(),
            key: this.container.snapshot_key.clone(),
        });
        let answer = this.snapshots().stat(request).await?.into_inner();
        this.parent = answer.info.ok_or("no snapshot")?.parent;
        Ok(this)
    }

    /// A message to this containerd in this namespace.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Ok(namespace) = MetadataValue::try_from(&self.namespace) {
            let metadata = request.metadata_mut();
            metadata.insert("containerd-namespace", namespace);
        }
        request
    }

    /// Its task service.
    #[must_use]
    pub fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel.clone())
    }

    fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone())
    }

    fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone())
    }

    /// Makes a container with other arguments and annotations; no task yet. Gives what its rootfs is mounted from, and the
    /// process of its specification.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn make(
        &self,
        id: &str,
        args: &[&str],
        annotation: Option<(&str, &str)>,
    ) -> Result<(Vec<containerd_client::types::Mount>, Value), Error> {
        let mut container = self.container.clone();
        let spec = container.spec.take().ok_or("no specification")?;
        let text = String::from_utf8(spec.value)?.replace(&self.container.id, id);
        let mut config: Value = serde_json::from_str(&text)?;
        config["process"]["args"] = json!(args);
        if let Some((key, value)) = annotation {
            config["annotations"][key] = json!(value);
        }
        let process = config["process"].clone();
        container.spec = Some(Any {
            type_url: spec.type_url,
            value: config.to_string().into_bytes(),
        });
        container.id = id.to_owned();
        container.snapshot_key = id.to_owned();
        let prepare = self.request(PrepareSnapshotRequest {
            snapshotter: container.snapshotter.clone(),
            key: id.to_owned(),
            parent: self.parent.clone(),
            labels: HashMap::from([(ROOT.to_owned(), "2026-01-01T00:00:00Z".to_owned())]),
        });
        let mounts = self.snapshots().prepare(prepare).await?.into_inner().mounts;
        let create = self.request(api::CreateContainerRequest {
            container: Some(container),
        });
        self.containers().create(create).await?;
        Ok((mounts, process))
    }

    /// Removes a container that has no task any more.
    ///
    /// # Errors
    /// containerd's answer.
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        let delete = self.request(api::DeleteContainerRequest { id: id.to_owned() });
        self.containers().delete(delete).await?;
        let remove = self.request(RemoveSnapshotRequest {
            snapshotter: self.container.snapshotter.clone(),
            key: id.to_owned(),
        });
        self.snapshots().remove(remove).await?;
        Ok(())
    }
}
