//! Hooks from where a kubelet reads them to where podhook does, and back: pure, on the template of pods. What asks for
//! it makes the changes as text ([`super::source`]), or sends them as a JSON patch ([`json_patch`]).

mod back;
mod forward;
mod patch;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::lifecycle::{ANNOTATION_PREFIX, Fault};
use super::path::Path;

pub use back::back;
pub(crate) use forward::OWN_CLASSES;
pub use forward::forward;
pub use patch::{Op, apply, json_patch};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The RuntimeClass that pods get, or lose on the way back. None leaves that field alone.
    pub runtime_class: Option<String>,
    /// Whether somebody has named that class, and knows that it is podhook's.
    pub is_named: bool,
}

/// What is to be done to one template.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub ops: Vec<Op>,
    /// From where to where something went: for the comments that stand by it.
    pub moves: Vec<(Path, Path)>,
    /// The containers whose hooks move.
    pub containers: Vec<String>,
    /// What is done, and might surprise.
    pub notes: Vec<Trouble>,
}

/// Something about a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub at: Path,
    /// The field of the JSON that an annotation holds.
    pub inside: Option<String>,
    pub text: String,
    /// What to do about it.
    pub hint: String,
}

impl Trouble {
    fn new(at: &Path, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            at: at.clone(),
            inside: None,
            text: text.into(),
            hint: hint.into(),
        }
    }

    /// The same, in what holds the object at `at`.
    #[must_use]
    pub fn below(mut self, at: &Path) -> Self {
        self.at = at.join(&self.at);
        self
    }
}

/// A container of a template.
pub(crate) struct Container<'v> {
    pub(crate) value: &'v Value,
    pub(crate) at: Path,
    pub(crate) name: &'v str,
    /// An init container that is no sidecar: Kubernetes allows it no hooks.
    pub(crate) is_plain_init: bool,
}

impl Container<'_> {
    fn key(&self) -> String {
        format!("{ANNOTATION_PREFIX}{}", self.name)
    }

    /// What its spec says, without what says nothing.
    fn lifecycle(&self) -> Option<Value> {
        self.value.get("lifecycle").and_then(said)
    }
}

/// All of a pod, or of a template of pods.
pub(crate) fn containers(pod: &Value) -> Vec<Container<'_>> {
    let spec = pod.get("spec");
    let mut found = Vec::new();
    for list in ["containers", "initContainers"] {
        let items = spec
            .and_then(|spec| spec.get(list))
            .and_then(Value::as_array);
        for (i, value) in items.into_iter().flatten().enumerate() {
            let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default();
            found.push(Container {
                value,
                at: Path::default().key("spec").key(list).index(i),
                name: text("name"),
                is_plain_init: list == "initContainers" && text("restartPolicy") != "Always",
            });
        }
    }
    found
}

/// The annotations of a template.
fn annotations(pod: &Value) -> Option<&Map<String, Value>> {
    pod.get("metadata")?.get("annotations")?.as_object()
}

fn annotations_at() -> Path {
    Path::default().key("metadata").key("annotations")
}

fn class_at() -> Path {
    Path::default().key("spec").key("runtimeClassName")
}

/// The RuntimeClass of a template.
fn class(pod: &Value) -> &str {
    class_at().of(pod).as_str().unwrap_or_default()
}

/// Of a stop signal in a spec.
pub(crate) const NO_OS: &str = "Kubernetes refuses it in a pod without spec.os.name";
/// What it needs.
pub(crate) const OS: &str = "spec.os.name: linux";

/// Whether a pod says what it runs on.
fn has_os(pod: &Value) -> bool {
    let name = Path::parse("spec.os.name").of(pod);
    name.as_str().is_some_and(|name| !name.is_empty())
}

/// The stop signals in a pod's spec that Kubernetes refuses.
pub(crate) fn refused_signals(pod: &Value) -> Vec<Path> {
    if has_os(pod) {
        return Vec::new();
    }
    let found = containers(pod).into_iter().filter_map(|container| {
        let signal = container.value.get("lifecycle")?.get("stopSignal")?;
        (!signal.is_null()).then(|| container.at.key("lifecycle").key("stopSignal"))
    });
    found.collect()
}

/// A value without its nulls; none where nothing is left.
fn said(value: &Value) -> Option<Value> {
    match without_nulls(value) {
        Value::Null => None,
        Value::Object(fields) if fields.is_empty() => None,
        value => Some(value),
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        value => value.clone(),
    }
}

/// What to do about a field of a lifecycle in a spec.
fn hint(fault: &Fault) -> &'static str {
    match fault.is_unknown() {
        true => "take it away: only what Kubernetes and podhook know can be moved",
        false => "mend it first: neither Kubernetes nor podhook would take it",
    }
}
