//! Where a container's lifecycle comes from.

use super::annotations::{self, Annotations};
use super::error::{FieldError, LifecycleError};
use super::model::Lifecycle;
use super::policy::Policy;
use super::ports::{self, Ports};
use super::text;

/// The container's own annotation.
pub const OWN_ANNOTATION: &str = "podhook.dev/lifecycle";
/// The pod's annotation, followed by the container's name.
pub const POD_ANNOTATION_PREFIX: &str = "lifecycle.podhook.dev/";

/// The largest annotation value: Kubernetes limits all annotations of an object to as much.
pub const MAX_VALUE_BYTES: usize = 256 * 1024;

impl Lifecycle {
    /// The lifecycle of the container with these annotations, none for a sandbox or where nothing is
    /// said; `{}` says nothing. Its own annotation comes first, then the pod's for its name, then the
    /// node's default, field by field. `io.kubernetes.container.preStopHandler` is never read: the
    /// kubelet runs that one itself.
    ///
    /// # Errors
    /// What is wrong with an annotation, and with which; also what the policy does not allow. The node's own default
    /// may ask for everything.
    pub fn from_annotations(
        annotations: &impl Annotations,
        node_default: Option<&Lifecycle>,
        policy: &Policy,
    ) -> Result<Option<Lifecycle>, LifecycleError> {
        if annotations::is_sandbox(annotations) {
            return Ok(None);
        }
        let read = |key: &str| read(policy, annotations, key);
        let mut lifecycle = read(OWN_ANNOTATION)?.unwrap_or_default();
        let name = annotations
            .value(annotations::CONTAINER_NAME_ANNOTATION)
            .unwrap_or_default();
        if !name.is_empty()
            && let Some(lower) = read(&format!("{POD_ANNOTATION_PREFIX}{name}"))?
        {
            lifecycle = lifecycle.or(lower);
        }
        if let Some(default) = node_default {
            lifecycle = lifecycle.or(default.clone());
        }
        Ok((!lifecycle.is_empty()).then_some(lifecycle))
    }
}

fn read(
    policy: &Policy,
    annotations: &impl Annotations,
    key: &str,
) -> Result<Option<Lifecycle>, LifecycleError> {
    let Some(value) = annotations.value(key) else {
        return Ok(None);
    };
    let ports = Ports::Annotation(ports::annotation_value(annotations));
    let parsed = match value.len() {
        0..=MAX_VALUE_BYTES => Lifecycle::from_json(value, &ports),
        len => Err(FieldError::new(
            "",
            format!("has {len} bytes, at most {MAX_VALUE_BYTES} are allowed"),
        )),
    };
    parsed
        .and_then(|lifecycle| policy.check(&lifecycle).map(|()| Some(lifecycle)))
        .map_err(|field| LifecycleError::Annotation {
            annotation: shown_key(key),
            field,
        })
}

/// Kubernetes' keys are plain and short, others' need not be.
fn shown_key(key: &str) -> String {
    text::shorten(&text::visible(key), 128)
}
