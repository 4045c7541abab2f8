//! Pods, and what makes pods: where in a document their template is.

use serde_json::Value;

use super::path::Path;

/// The template of the pods of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Workload<'v> {
    /// The object: a document, or an item of a list.
    pub(crate) object: &'v Value,
    /// Where it is in its document.
    pub(crate) at: Path,
    /// Where in the object its pods' `metadata` and `spec` are.
    pub(crate) template: Path,
    /// Whether Kubernetes makes pods of this kind's template as it stands.
    pub(crate) is_known: bool,
}

/// Kinds of Kubernetes, and where the template of their pods is.
const KINDS: &[(&str, &str)] = &[
    ("Pod", ""),
    ("PodTemplate", "template"),
    ("Deployment", "spec.template"),
    ("StatefulSet", "spec.template"),
    ("DaemonSet", "spec.template"),
    ("ReplicaSet", "spec.template"),
    ("ReplicationController", "spec.template"),
    ("Job", "spec.template"),
    ("CronJob", "spec.jobTemplate.spec.template"),
];

/// Where the template of another kind may be.
const PLACES: &[&str] = &[
    "",
    "spec.template",
    "spec.jobTemplate.spec.template",
    "template",
];

impl<'v> Workload<'v> {
    /// The pod, or the template of the pods.
    pub(crate) fn pod(&self) -> &'v Value {
        self.template.of(self.object)
    }

    /// Where that is in the document.
    pub(crate) fn pod_at(&self) -> Path {
        self.at.join(&self.template)
    }

    pub(crate) fn kind(&self) -> &'v str {
        text(self.object, "kind")
    }

    /// As kubectl names it, `deployment/web`; the kind alone where it has no name.
    pub(crate) fn name(&self) -> String {
        let kind = self.kind().to_lowercase();
        match self
            .object
            .get("metadata")
            .map(|metadata| text(metadata, "name"))
        {
            Some(name) if !name.is_empty() => format!("{kind}/{name}"),
            _ => kind,
        }
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What makes pods in a document; a list's items are looked through.
pub(crate) fn workloads(document: &Value) -> Vec<Workload<'_>> {
    let mut found = Vec::new();
    collect(document, Path::default(), &mut found);
    found
}

/// Whether an object has a pod's containers at that place.
fn has_containers(object: &Value, place: &str) -> bool {
    let pod = Path::parse(place).of(object);
    let spec = pod.get("spec").and_then(|spec| spec.get("containers"));
    spec.is_some_and(Value::is_array)
}

/// A template where another kind has it, and where this one has it.
pub(crate) fn misplaced(object: &Value) -> Option<(&'static str, &'static str)> {
    let kind = text(object, "kind");
    let (_, right) = KINDS.iter().find(|(name, _)| *name == kind)?;
    let is_there = |place: &str| !Path::parse(place).of(object).is_null();
    if right.is_empty() || is_there(right) {
        return None;
    }
    let wrong = PLACES.iter().filter(|place| !place.is_empty());
    let wrong = wrong.copied().find(|place| has_containers(object, place))?;
    Some((wrong, right))
}

fn collect<'v>(object: &'v Value, at: Path, found: &mut Vec<Workload<'v>>) {
    if let Some(items) = object.get("items").and_then(Value::as_array) {
        for (i, item) in items.iter().enumerate() {
            // A list within a list is nothing that Kubernetes has.
            if item.get("items").is_none() {
                collect(item, at.key("items").index(i), found);
            }
        }
        return;
    }
    // Containers that are misspelt, for one, do not make it another thing.
    let has_spec = |place: &&str| {
        let pod = Path::parse(place).of(object);
        pod.get("spec").is_some_and(Value::is_object)
    };
    let kind = text(object, "kind");
    let known = KINDS
        .iter()
        .find(|(name, _)| *name == kind)
        .map(|(_, place)| place);
    let place = match known {
        Some(place) => Some(place).filter(|place| has_spec(place)),
        None => PLACES.iter().find(|place| has_containers(object, place)),
    };
    found.extend(place.map(|place| Workload {
        object,
        at,
        template: Path::parse(place),
        is_known: known.is_some(),
    }));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(document: &Value) -> Vec<(String, String, bool)> {
        workloads(document)
            .iter()
            .map(|w| (w.name(), w.pod_at().to_string(), w.is_known))
            .collect()
    }

    #[test]
    fn every_kind_has_its_template_where_kubernetes_has_it() {
        let pod = json!({"spec": {"containers": []}});
        for (kind, place) in KINDS {
            let mut object = json!({"kind": kind, "metadata": {"name": "web"}});
            let mut inner = pod.clone();
            for part in place.rsplit('.').filter(|part| !part.is_empty()) {
                inner = json!({part: inner});
            }
            object
                .as_object_mut()
                .unwrap()
                .extend(inner.as_object().unwrap().clone());
            let name = format!("{}/web", kind.to_lowercase());
            assert_eq!(places(&object), [(name.clone(), (*place).to_owned(), true)]);
            let list = json!({"kind": "List", "items": [{"kind": "Service"}, object]});
            let place = format!("items[1].{place}");
            let place = place.trim_end_matches('.').to_owned();
            assert_eq!(places(&list), [(name, place, true)]);
        }
    }

    #[test]
    fn a_known_kind_is_found_without_its_containers() {
        let pod = json!({"kind": "Pod", "spec": {"containrs": []}});
        assert_eq!(places(&pod), [("pod".to_owned(), String::new(), true)]);
        let template = json!({"kind": "Job", "spec": {"template": {"spec": {"containrs": []}}}});
        let expected = ("job".to_owned(), "spec.template".to_owned(), true);
        assert_eq!(places(&template), [expected]);
        let other = json!({"kind": "Rollout", "spec": {"template": {"spec": {}}}});
        assert_eq!(places(&other), []);
    }

    #[test]
    fn another_kind_is_found_by_its_shape_and_is_not_known() {
        let rollout =
            json!({"kind": "Rollout", "spec": {"template": {"spec": {"containers": []}}}});
        let expected = ("rollout".to_owned(), "spec.template".to_owned(), false);
        assert_eq!(places(&rollout), [expected]);
        for other in [
            json!({"kind": "Service"}),
            json!(5),
            json!(null),
            json!({"kind": "Pod"}),
        ] {
            assert_eq!(places(&other), []);
        }
    }
}
