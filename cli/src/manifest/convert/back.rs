//! From podhook's annotations to `lifecycle:` of the containers.

use podhook_hooks::lifecycle::Policy;
use serde_json::{Map, Value, json};

use super::{Container, Op, Plan, Trouble, Wish, annotations_at, class, class_at};
use crate::manifest::judgement::{self, Annotations};
use crate::manifest::lifecycle::{ANNOTATION_PREFIX, Fault, OWN_ANNOTATION, in_spec};
use crate::manifest::path::Path;

/// The changes that let a kubelet run the hooks of a pod, or of a template of pods. None where podhook has none of it.
///
/// # Errors
/// What cannot be moved, for one a field that only podhook has. Then nothing is.
pub fn back(pod: &Value, wish: &Wish) -> Result<Plan, Vec<Trouble>> {
    let mut plan = Plan::default();
    let mut troubles = Vec::new();
    let none = Map::new();
    let annotations = super::annotations(pod).unwrap_or(&none);
    let containers = super::containers(pod);
    let mut removed = Vec::new();
    for (key, value) in annotations {
        let at = annotations_at().key(key);
        let container = match owner(key, &containers, annotations) {
            Ok(Some(container)) => container,
            Ok(None) => continue,
            Err((text, hint)) => {
                troubles.push(Trouble::new(&at, text, hint));
                continue;
            }
        };
        match examine(key, value, container) {
            Err(found) => troubles.extend(found),
            Ok(lifecycle) => {
                removed.push(key);
                plan.containers.push(container.name.to_owned());
                let to = container.at.key("lifecycle");
                plan.moves.push((at, to.clone()));
                let signal = lifecycle.as_ref().and_then(|said| said.get("stopSignal"));
                if signal.is_some() && !super::has_os(pod) {
                    let text = format!("{to}.stopSignal: {}", super::NO_OS);
                    let at = annotations_at().key(key);
                    plan.notes.push(Trouble::new(&at, text, super::OS));
                }
                if let Some(value) = lifecycle.filter(|_| container.lifecycle().is_none()) {
                    plan.ops.push(Op::Set { path: to, value });
                }
            }
        }
    }
    if !troubles.is_empty() {
        return Err(troubles);
    }
    if removed.is_empty() {
        return Ok(Plan::default());
    }
    plan.ops.extend(remove(pod, annotations, &removed));
    plan.ops.extend(runtime_class(pod, wish, &mut plan.notes));
    Ok(plan)
}

/// The container that an annotation is for; none for an annotation that is not podhook's.
fn owner<'c, 'v>(
    key: &str,
    containers: &'c [Container<'v>],
    annotations: &Map<String, Value>,
) -> Result<Option<&'c Container<'v>>, (String, &'static str)> {
    let container = if key == OWN_ANNOTATION {
        let [one] = containers else {
            let text = format!("{key} is for every container of the pod");
            let hint =
                "write it as lifecycle.podhook.dev/<container> for those that it is meant for";
            return Err((text, hint));
        };
        if annotations.contains_key(&one.key()) {
            let text = format!("{key} and {} are for the same container", one.key());
            return Err((
                text,
                "write both as one: the first has precedence, field by field",
            ));
        }
        one
    } else if let Some(name) = key.strip_prefix(ANNOTATION_PREFIX) {
        let Some(container) = containers.iter().find(|container| container.name == name) else {
            let text = format!("the pod has no container {name:?}");
            return Err((text, "mend the name, or take the annotation away"));
        };
        container
    } else {
        return Ok(None);
    };
    if container.is_plain_init {
        let text = format!(
            "container {:?} is an init container, and Kubernetes allows it no lifecycle",
            container.name
        );
        let hint =
            "take the annotation away, or make the container a sidecar with restartPolicy: Always";
        return Err((text, hint));
    }
    Ok(Some(container))
}

/// What an annotation says, as far as Kubernetes has it.
fn examine(
    key: &str,
    value: &Value,
    container: &Container<'_>,
) -> Result<Option<Value>, Vec<Trouble>> {
    let at = annotations_at().key(key);
    let Some(text) = value.as_str() else {
        let trouble = Trouble::new(&at, "must be a string", "write the JSON in quotes");
        return Err(vec![trouble]);
    };
    let ports = container
        .value
        .get("ports")
        .cloned()
        .unwrap_or_else(|| json!([]));
    let pod = Annotations::from([(key.to_owned(), text.to_owned())]);
    let said = judgement::create(
        &Policy::default(),
        &pod,
        container.name,
        Some(&ports.to_string()),
    );
    if let Err(refusal) = said {
        let mut trouble = Trouble::new(
            &at,
            refusal.reason,
            "mend it first: podhook would not take it",
        );
        trouble.inside = Some(refusal.path);
        return Err(vec![trouble]);
    }
    let lifecycle = serde_json::from_str::<Value>(text).unwrap_or_default();
    let lifecycle = super::said(&lifecycle);
    if let (Some(mine), Some(its)) = (&lifecycle, container.lifecycle())
        && *mine != its
    {
        let text = format!(
            "container {:?} has a lifecycle already, and it says something else",
            container.name
        );
        return Err(vec![Trouble::new(&at, text, "take away one of the two")]);
    }
    let Some(mine) = &lifecycle else {
        return Ok(None);
    };
    let as_container = json!({"name": container.name, "ports": ports, "lifecycle": mine});
    match in_spec(&as_container, "", None) {
        Ok(_) => Ok(lifecycle),
        Err(faults) => Err(faults.iter().map(|fault| no_place(&at, fault)).collect()),
    }
}

/// A field that a pod's spec does not have.
fn no_place(at: &Path, fault: &Fault) -> Trouble {
    let path = Path::parse(fault.path()).to_string();
    let field = path.strip_prefix("lifecycle.").unwrap_or(&path);
    let (reason, hint) = match fault.is_unknown() {
        true => (
            "Kubernetes has no such field".to_owned(),
            "take it away: a kubelet runs the hook without it",
        ),
        false => (fault.reason(), super::hint(fault)),
    };
    let mut trouble = Trouble::new(at, format!("{field}: {reason}"), hint);
    trouble.inside = Some(field.to_owned());
    trouble
}

/// The changes that take annotations away, and what would be empty without them.
fn remove(pod: &Value, annotations: &Map<String, Value>, keys: &[&String]) -> Vec<Op> {
    let path = annotations_at();
    if keys.len() < annotations.len() {
        let remove = |key: &&String| Op::Remove {
            path: path.key(key),
        };
        return keys.iter().map(remove).collect();
    }
    let metadata = pod.get("metadata").and_then(Value::as_object);
    let path = match metadata.is_some_and(|fields| fields.len() == 1) {
        true => Path::default().key("metadata"),
        false => path,
    };
    vec![Op::Remove { path }]
}

fn runtime_class(pod: &Value, wish: &Wish, notes: &mut Vec<Trouble>) -> Option<Op> {
    let class_name = wish.runtime_class.as_deref()?;
    let there = class(pod);
    if there == class_name {
        return Some(Op::Remove { path: class_at() });
    }
    if !there.is_empty() {
        notes.push(Trouble::new(
            &class_at(),
            format!("is {there}, and stays"),
            format!("podhook convert --back --runtime-class {there} takes it away"),
        ));
    }
    None
}
