//! What the shim has recorded of a container's hooks: `<bundle>/podhook.json`.
//!
//! The file is the shim's; it goes with the bundle when the container has ended and containerd
//! has cleaned up.

use std::path::Path;

use podhook_hooks::record::Record;

use super::bundles::{self, Bundle};
use crate::store::folder::Name;

/// The record of a CRI container; `None` when there is none (no lifecycle, not podhook's shim, or
/// the bundle is gone).
#[must_use]
pub fn record(state: &Path, container_id: &str) -> Option<Record> {
    let id = Name::of(container_id)?;
    let bundle = Bundle {
        namespace: "k8s.io".to_owned(),
        path: bundles::folder(state).join("k8s.io").join(id.as_str()),
        id: container_id.to_owned(),
    };
    Some(bundle.recorded().ok()??.record)
}
