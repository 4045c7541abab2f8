//! From `lifecycle:` of the containers to podhook's annotations.

use podhook_hooks::lifecycle::{MAX_VALUE_BYTES, Policy};
use serde_json::{Map, Value};

use super::{Container, Op, Plan, Trouble, Wish, annotations_at, class, class_at};
use crate::manifest::judgement::{self, Annotations};
use crate::manifest::lifecycle::{OWN_ANNOTATION, in_spec, overlap_in_spec};
use crate::manifest::path::Path;

/// What runs podhook's shim, where nobody says otherwise; as `podhook apply` takes it.
pub(crate) const OWN_CLASSES: &str = "podhook";

/// The changes that let podhook run the hooks of a pod, or of a template of pods. None where it has no hooks.
///
/// The grace period stays the pod's: the kubelet tells it to the shim, and one in the annotation would take
/// `kubectl delete --grace-period` its effect.
///
/// # Errors
/// What cannot be moved. Then nothing is.
pub fn forward(pod: &Value, wish: &Wish) -> Result<Plan, Vec<Trouble>> {
    let mut plan = Plan::default();
    let mut troubles = Vec::new();
    let there = texts(pod, &mut troubles);
    let mut new = Vec::new();
    for container in super::containers(pod) {
        let Some(lifecycle) = container.lifecycle() else {
            continue;
        };
        let before = troubles.len();
        examine(&container, &lifecycle, &there, &mut troubles);
        if troubles.len() > before {
            continue;
        }
        let (from, key) = (container.at.key("lifecycle"), container.key());
        plan.moves.push((from.clone(), annotations_at().key(&key)));
        plan.ops.push(Op::Remove { path: from });
        plan.containers.push(container.name.to_owned());
        if !there.contains_key(&key) {
            new.push((key, lifecycle.to_string()));
        }
    }
    if plan.ops.is_empty() && troubles.is_empty() {
        return Ok(Plan::default());
    }
    check_size(&there, &new, &mut troubles);
    check_create(pod, &there, &new, &mut troubles);
    if there.keys().any(|key| judgement::is_ours(key)) {
        plan.notes.push(Trouble::new(
            &annotations_at(),
            "there are annotations of podhook's already",
            "podhook convert --back will move the hooks of those, too",
        ));
    }
    let mut ops = set(pod, new);
    ops.extend(runtime_class(pod, wish, &mut plan.notes, &mut troubles));
    ops.append(&mut plan.ops);
    plan.ops = ops;
    if troubles.is_empty() {
        Ok(plan)
    } else {
        Err(troubles)
    }
}

/// The annotations that are text. Another one of podhook's is an error of its own.
fn texts(pod: &Value, troubles: &mut Vec<Trouble>) -> Annotations {
    let mut texts = Annotations::new();
    for (key, value) in super::annotations(pod).into_iter().flatten() {
        match value.as_str() {
            Some(text) => {
                texts.insert(key.clone(), text.to_owned());
            }
            None if judgement::is_ours(key) => troubles.push(Trouble::new(
                &annotations_at().key(key),
                "must be a string",
                "write the JSON in quotes",
            )),
            None => {}
        }
    }
    texts
}

/// What keeps the hooks of a container where they are.
fn examine(
    container: &Container<'_>,
    lifecycle: &Value,
    there: &Annotations,
    troubles: &mut Vec<Trouble>,
) {
    let at = container.at.key("lifecycle");
    if container.name.is_empty() {
        let text = "a container without a name has no annotation";
        troubles.push(Trouble::new(&at, text, "give it a name"));
        return;
    }
    if container.is_plain_init {
        troubles.push(Trouble::new(
            &at,
            "Kubernetes allows no lifecycle in an init container",
            "take it away, or make the container a sidecar with restartPolicy: Always",
        ));
        return;
    }
    if let Err(faults) = in_spec(container.value, &container.at.to_string(), None) {
        troubles.extend(faults.iter().map(|fault| {
            let at = Path::parse(fault.path());
            Trouble::new(&at, fault.reason(), super::hint(fault))
        }));
        return;
    }
    let key = container.key();
    if let Some(text) = there.get(&key) {
        let same = serde_json::from_str::<Value>(text)
            .is_ok_and(|value| super::said(&value).as_ref() == Some(lifecycle));
        if !same {
            troubles.push(Trouble::new(
                &at,
                format!("the annotation {key} is there already, and says something else"),
                "take away one of the two: under a kubelet the hooks of both would run",
            ));
        }
        return;
    }
    let causes = overlap_in_spec(container.value, &container.at.to_string(), there);
    troubles.extend(causes.into_iter().map(|cause| {
        let text =
            format!("the annotation {OWN_ANNOTATION} sets it for every container, and comes first");
        Trouble::new(&Path::parse(&cause.path), text, "take away one of the two")
    }));
}

/// The changes that set annotations.
fn set(pod: &Value, new: Vec<(String, String)>) -> Vec<Op> {
    let is_empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(_) => false,
    };
    if new.is_empty() {
        return Vec::new();
    }
    let metadata = pod.get("metadata");
    let path = annotations_at();
    if metadata.is_some_and(|metadata| !is_empty(metadata.get("annotations"))) {
        return new
            .into_iter()
            .map(|(key, text)| Op::Set {
                path: path.key(&key),
                value: text.into(),
            })
            .collect();
    }
    let value: Value = new
        .into_iter()
        .map(|(key, text)| (key, text.into()))
        .collect::<Map<_, _>>()
        .into();
    if is_empty(metadata) {
        let value = Map::from_iter([("annotations".to_owned(), value)]).into();
        return vec![Op::Set {
            path: Path::default().key("metadata"),
            value,
        }];
    }
    vec![Op::Set { path, value }]
}

fn runtime_class(
    pod: &Value,
    wish: &Wish,
    notes: &mut Vec<Trouble>,
    troubles: &mut Vec<Trouble>,
) -> Option<Op> {
    let class_name = wish.runtime_class.as_deref()?;
    let there = class(pod);
    if there.is_empty() {
        return Some(Op::Set {
            path: class_at(),
            value: class_name.into(),
        });
    }
    if there == class_name {
        notes.push(Trouble::new(
            &class_at(),
            format!("is {there} already"),
            "podhook convert --back --runtime-class '' leaves it there",
        ));
    } else if wish.is_named || !there.starts_with(OWN_CLASSES) {
        troubles.push(Trouble::new(
            &class_at(),
            format!("is {there} already, and not {class_name}"),
            format!(
                "if {there} runs podhook's shim, say --runtime-class {there}; else take it away"
            ),
        ));
    }
    None
}

/// Kubernetes limits all annotations of an object together.
fn check_size(there: &Annotations, new: &[(String, String)], troubles: &mut Vec<Trouble>) {
    let size = there
        .iter()
        .chain(new.iter().map(|(key, text)| (key, text)))
        .fold(0_usize, |sum, (key, text)| {
            sum.saturating_add(key.len()).saturating_add(text.len())
        });
    if size > MAX_VALUE_BYTES {
        troubles.push(Trouble::new(
            &annotations_at(),
            format!("all annotations would have {size} bytes, Kubernetes allows {MAX_VALUE_BYTES}"),
            "put a long script into the image or a ConfigMap, and run it from there",
        ));
    }
}

/// What Create says of the annotations as they will be.
fn check_create(
    pod: &Value,
    there: &Annotations,
    new: &[(String, String)],
    troubles: &mut Vec<Trouble>,
) {
    let mut all = there.clone();
    all.extend(new.iter().cloned());
    for container in super::containers(pod) {
        let ports = container.value.get("ports").map(Value::to_string);
        let ports = ports.unwrap_or_else(|| "[]".to_owned());
        if let Err(refusal) =
            judgement::create(&Policy::default(), &all, container.name, Some(&ports))
        {
            let mut trouble = Trouble::new(
                &annotations_at().key(&refusal.key),
                refusal.reason,
                "mend it first",
            );
            trouble.inside = Some(refusal.path);
            // One for every container is wrong in every container.
            if !troubles.contains(&trouble) {
                troubles.push(trouble);
            }
        }
    }
}
