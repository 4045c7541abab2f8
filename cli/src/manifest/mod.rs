//! Pod manifests: read strictly, completed with Kubernetes' defaults, translated to CRI.
//!
//! The translation is the kubelet's, field by field, so that a pod runs here as it runs under a
//! kubelet; only `lifecycle` goes another way: into the annotation that podhook's shim reads.

pub mod admission;
pub(crate) mod check;
pub mod container;
pub mod convert;
mod defaults;
mod dns;
mod env;
mod error;
mod expand;
mod fields;
mod image;
pub mod judgement;
mod labels;
mod lifecycle;
mod load;
mod path;
mod quantity;
mod resources;
pub mod review;
pub mod sandbox;
mod schema;
mod security;
pub(crate) mod source;
#[cfg(test)]
mod tests;
mod validate;
pub(crate) mod workload;
pub mod yaml;

use std::path::PathBuf;

pub use defaults::GRACE_PERIOD_SECONDS;
pub use env::Facts;
pub use error::{Cause, Error};
pub use image::normalize as normalize_image;
pub use labels::{CONTAINER_NAME, GRACE_PERIOD, POD_NAME, POD_NAMESPACE, POD_UID, PORTS};
pub use lifecycle::Fault;
pub use lifecycle::{
    ANNOTATION_PREFIX, OWN_ANNOTATION, annotation as lifecycle_annotation,
    doubts as lifecycle_doubts, in_spec as lifecycle_in_spec, overlap_in_spec,
};
pub use load::{Object, load, parse};
pub(crate) use load::{files, read, refusals, unknown_in_template};
pub use path::{Path, Step};
pub use quantity::Quantity;
pub use resources::{Qos, qos};
pub use schema::SchemaError;
pub use security::check_non_root;
pub(crate) use validate::{is_subdomain, name_of_container};

/// Where a pod runs: its place on this node.
#[derive(Debug, Clone, Default)]
pub struct Placement {
    pub uid: String,
    /// The folder of its data: volumes, termination messages.
    pub directory: PathBuf,
    /// The folder of its logs.
    pub log_directory: PathBuf,
    /// The cgroup, or the slice, below which its containers stand.
    pub cgroup_parent: String,
    /// The node's memory in bytes.
    pub memory_capacity: i64,
    /// The node's resolv.conf.
    pub resolv_conf: String,
}

impl Placement {
    /// The directory of an emptyDir volume.
    #[must_use]
    pub fn empty_dir(&self, volume: &str) -> PathBuf {
        self.directory.join("volumes").join(volume)
    }

    /// The file that is a container's termination message.
    #[must_use]
    pub fn termination_log(&self, container: &str) -> PathBuf {
        self.directory.join("termination-log").join(container)
    }
}
