//! What Create will say of a container's lifecycle, for all who ask before there is a container. The shim's own
//! function decides, on the annotations as they will reach the shim.

use std::collections::BTreeMap;

use podhook_hooks::lifecycle::{
    CONTAINER_NAME_ANNOTATION, FieldError, Lifecycle, LifecycleError, OWN_ANNOTATION,
    POD_ANNOTATION_PREFIX, PORTS_ANNOTATION, Policy, Ports,
};
use podhook_hooks::similar;
use serde_json::Value;

use super::yaml;

/// The longest text that is proposed in the place of another.
const MAX_PROPOSAL: usize = 2000;

/// Letters that may be wrong in the domain of a key; with one more, webhook.dev would be podhook.dev.
const DOMAIN_SLIPS: usize = 2;

/// Annotations of a pod.
pub(crate) type Annotations = BTreeMap<String, String>;

/// What is refused, and where.
pub(crate) struct Refusal {
    pub(crate) key: String,
    /// The field of its value; empty for all of it.
    pub(crate) path: String,
    /// The field, and why.
    pub(crate) reason: String,
}

/// Whether a key is podhook's.
pub(crate) fn is_ours(key: &str) -> bool {
    key.starts_with("podhook.dev/") || key.starts_with(POD_ANNOTATION_PREFIX)
}

/// Whether one of a pod's annotations is live in the container of this name.
pub(crate) fn is_live(key: &str, container: &str) -> bool {
    key == OWN_ANNOTATION || key.strip_prefix(POD_ANNOTATION_PREFIX) == Some(container)
}

/// The domain of podhook's annotations that a key's own is a slip of, or seems to be a further one of. Create passes
/// over such a key.
fn looks_like_ours(key: &str) -> bool {
    let domain = key.split('/').next().unwrap_or_default();
    let known = [POD_ANNOTATION_PREFIX, OWN_ANNOTATION].map(|ours| ours.split('/').next());
    let is_slip = |known: &str| similar::is_like(domain, known, DOMAIN_SLIPS);
    !is_ours(key)
        && (known.into_iter().flatten().any(is_slip)
            || domain.to_ascii_lowercase().contains("podhook"))
}

/// The key that was meant by one that looks like podhook's.
fn meant(key: &str, containers: &[&str]) -> String {
    match key.split_once('/') {
        Some((_, "lifecycle")) => format!("did you mean {OWN_ANNOTATION}?"),
        Some((_, name)) if containers.contains(&name) => {
            format!("did you mean {POD_ANNOTATION_PREFIX}{name}?")
        }
        _ => format!("podhook's are {OWN_ANNOTATION} and {POD_ANNOTATION_PREFIX}<container>"),
    }
}

/// What Create makes of a pod's annotations for one container. `ports` is what the kubelet writes of its ports.
pub(crate) fn create(
    policy: &Policy,
    pod: &Annotations,
    container: &str,
    ports: Option<&str>,
) -> Result<Option<Lifecycle>, Refusal> {
    let mut annotations: Annotations = pod
        .iter()
        .filter(|(key, _)| is_live(key, container))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    annotations.insert(CONTAINER_NAME_ANNOTATION.to_owned(), container.to_owned());
    if let Some(ports) = ports {
        annotations.insert(PORTS_ANNOTATION.to_owned(), ports.to_owned());
    }
    let refused = match Lifecycle::from_annotations(&annotations, None, policy) {
        Ok(lifecycle) => return Ok(lifecycle),
        Err(LifecycleError::Annotation { annotation, field }) => (annotation, field),
    };
    let (key, field) = refused;
    // Where an example is given, the value has not the right form; else what it says is wrong.
    let value = annotations.get(&key).filter(|_| field.example.is_some());
    let proposal = value.and_then(|value| proposal(value, ports));
    Err(Refusal {
        path: field.path.clone(),
        reason: reason(field, proposal),
        key,
    })
}

/// The value itself is the best example.
fn reason(mut field: FieldError, proposal: Option<String>) -> String {
    match proposal {
        Some(json) => {
            field.example = None;
            format!("{field}: {json}")
        }
        None => field.to_string(),
    }
}

/// The annotation's value for one that is YAML, or a whole `lifecycle:`, and says something that is accepted.
fn proposal(value: &str, ports: Option<&str>) -> Option<String> {
    let document = yaml::documents(value)
        .ok()?
        .pop()
        .filter(Value::is_object)?;
    let inner = document.get("lifecycle").unwrap_or(&document);
    let lifecycle = Lifecycle::from_value(inner, &Ports::Annotation(ports)).ok()?;
    let json = inner.to_string();
    (!lifecycle.is_empty() && json.len() <= MAX_PROPOSAL && json != value).then_some(json)
}

/// What of podhook's annotations will have no effect: key and reason.
pub(crate) fn without_effect<'a>(
    pod: impl Iterator<Item = &'a String>,
    containers: &[&str],
) -> Vec<(String, String)> {
    let doubt = |key: &String| {
        if looks_like_ours(key) {
            let reason = format!(
                "is not podhook's, and runs no hooks: {}",
                meant(key, containers)
            );
            return Some((key.clone(), reason));
        }
        let reason = match key.strip_prefix(POD_ANNOTATION_PREFIX) {
            Some(name) if containers.contains(&name) => return None,
            Some(_) => "the pod has no such container: its hooks will not run".to_owned(),
            None if key == OWN_ANNOTATION => return None,
            None => format!(
                "podhook knows no such annotation, only {OWN_ANNOTATION} and {POD_ANNOTATION_PREFIX}<container>"
            ),
        };
        Some((key.clone(), reason))
    };
    pod.filter(|key| is_ours(key) || looks_like_ours(key))
        .filter_map(doubt)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &str, value: &str) -> Result<bool, String> {
        let pod = Annotations::from([(key.to_owned(), value.to_owned())]);
        let ports = r#"[{"name":"http","containerPort":80}]"#;
        create(&Policy::default(), &pod, "web", Some(ports))
            .map(|lifecycle| lifecycle.is_some())
            .map_err(|refusal| format!("{}: {}", refusal.key, refusal.reason))
    }

    #[test]
    fn the_pods_annotations_are_live_in_every_container_or_in_that_of_the_name() {
        let value = r#"{"preStop": {"sleep": {"seconds": 1}}}"#;
        assert_eq!(said("podhook.dev/lifecycle", value), Ok(true));
        assert_eq!(said("lifecycle.podhook.dev/web", value), Ok(true));
        assert_eq!(said("lifecycle.podhook.dev/log", "nonsense"), Ok(false));
    }

    #[test]
    fn yaml_and_a_whole_lifecycle_are_refused_with_what_to_write() {
        let json = r#"{"preStop":{"httpGet":{"port":"http"}}}"#;
        for value in [
            "preStop:\n  httpGet:\n    port: http\n",
            "lifecycle:\n  preStop: {httpGet: {port: http}}\n",
            r#"{"lifecycle": {"preStop": {"httpGet": {"port": "http"}}}}"#,
        ] {
            let error = said("podhook.dev/lifecycle", value).unwrap_err();
            assert!(error.ends_with(&format!(": {json}")), "{error}");
            assert_eq!(said("podhook.dev/lifecycle", json), Ok(true));
        }
        // What would be refused as well is not proposed.
        let error = said("podhook.dev/lifecycle", "preStop: {httpGet: {port: nope}}").unwrap_err();
        assert!(
            error.contains("looks like YAML") && !error.contains("nope"),
            "{error}"
        );
    }

    #[test]
    fn annotations_of_no_effect_are_named() {
        let keys = [
            "podhook.dev/lifecycle",
            "podhook.dev/lifecyle",
            "lifecycle.podhook.dev/wbe",
            "lifecycle.podhook.dev/web",
            "other/x",
        ]
        .map(str::to_owned);
        let found = without_effect(keys.iter(), &["web"]);
        let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["podhook.dev/lifecyle", "lifecycle.podhook.dev/wbe"]);
    }

    #[test]
    fn a_key_with_a_slip_in_its_domain_is_doubtful_and_another_project_s_is_not() {
        let doubts = |key: &str| {
            let key = key.to_owned();
            let doubts = without_effect(std::iter::once(&key), &["nginx"]);
            doubts.into_iter().map(|(_, reason)| reason).next()
        };
        for (key, meant) in [
            (
                "lifecycle.podhok.dev/nginx",
                "did you mean lifecycle.podhook.dev/nginx?",
            ),
            (
                "lifecycles.podhook.dev/nginx",
                "did you mean lifecycle.podhook.dev/nginx?",
            ),
            (
                "podhok.dev/lifecycle",
                "did you mean podhook.dev/lifecycle?",
            ),
            ("hooks.podhook.io/web", "lifecycle.podhook.dev/<container>"),
            ("lifecycle.podhook.dev", "lifecycle.podhook.dev/<container>"),
        ] {
            let reason = doubts(key).unwrap_or_default();
            assert!(reason.contains(meant), "{key}: {reason}");
        }
        for key in [
            "webhook.dev/inject",
            "lifecycle.example.com/nginx",
            "example.com/podhook-version",
            "podhook.dev/lifecycle",
            "lifecycle.podhook.dev/nginx",
        ] {
            assert_eq!(doubts(key), None, "{key}");
        }
    }
}
