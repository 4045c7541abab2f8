//! `podhook validate`: what Create would say of a lifecycle, said before there is a container.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use podhook_hooks::lifecycle::{Lifecycle, Ports};
use serde_json::Value;

use crate::args;
use crate::error::Error;
use crate::manifest::{ANNOTATION_PREFIX, PORTS};
use crate::output::escape::visible;
use crate::output::print;

/// The annotation of a container itself.
const OWN: &str = "podhook.dev/lifecycle";
/// What CRI calls the container, in its annotations.
const NAME: &str = "io.kubernetes.cri.container-name";

/// Runs the command.
///
/// # Errors
/// [`Error::Reported`] when a lifecycle is refused.
pub fn run(args: &args::Validate) -> Result<(), Error> {
    let mut refused = false;
    for path in &args.files {
        let (origin, text) = read(path)?;
        for finding in check(&text) {
            let (where_, says) = (&finding.subject, visible(&finding.text));
            let line = match where_.is_empty() {
                true => format!("{origin}: {says}"),
                false => format!("{origin}: {where_}: {says}"),
            };
            match finding.verdict {
                Verdict::Good => print(&format!("{line}\n"))?,
                Verdict::Doubtful => eprintln!("warning: {line}"),
                Verdict::Refused => {
                    refused = true;
                    eprintln!("error: {line}");
                }
            }
        }
    }
    if refused {
        Err(Error::Reported)
    } else {
        Ok(())
    }
}

fn read(path: &Path) -> Result<(String, String), Error> {
    let mut text = String::new();
    let origin = if path == Path::new("-") {
        std::io::stdin()
            .read_to_string(&mut text)
            .map(|_| "stdin".to_owned())
    } else {
        text = std::fs::read_to_string(path)
            .map_err(|e| Error::Refused(format!("cannot read {}: {e}", path.display())))?;
        Ok(path.display().to_string())
    };
    let origin = origin.map_err(|e| Error::Refused(format!("cannot read stdin: {e}")))?;
    Ok((origin, text))
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Doubtful,
    Refused,
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    /// The container.
    subject: String,
    text: String,
}

impl Finding {
    fn of(subject: &str, result: Result<Option<Lifecycle>, String>) -> Self {
        let (verdict, text) = match result {
            Ok(lifecycle) => (Verdict::Good, describe(lifecycle.as_ref())),
            Err(e) => (Verdict::Refused, e),
        };
        Self {
            verdict,
            subject: subject.to_owned(),
            text,
        }
    }
}

/// The findings on a file: manifests, where a document has a kind, else the value of an annotation.
fn check(text: &str) -> Vec<Finding> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_default();
    if documents
        .iter()
        .any(|document| document["kind"].is_string())
    {
        let findings: Vec<_> = documents.iter().flat_map(document).collect();
        if findings.is_empty() {
            return vec![Finding {
                verdict: Verdict::Doubtful,
                subject: String::new(),
                text: "no container with lifecycle hooks".to_owned(),
            }];
        }
        return findings;
    }
    // As the annotation holds it, its line's end excepted.
    let annotations = BTreeMap::from([(OWN.to_owned(), text.trim_end().to_owned())]);
    let lifecycle = Lifecycle::from_annotations(&annotations, None);
    vec![Finding::of("", lifecycle.map_err(|e| e.to_string()))]
}

/// A pod, what makes pods (`spec.template`), or a list of such.
fn document(document: &Value) -> Vec<Finding> {
    if let Some(items) = document["items"].as_array() {
        return items.iter().flat_map(self::document).collect();
    }
    let templates = [
        ("", document),
        ("spec.template.", &document["spec"]["template"]),
        (
            "spec.jobTemplate.spec.template.",
            &document["spec"]["jobTemplate"]["spec"]["template"],
        ),
    ];
    let with_containers = |(_, pod): &(&str, &Value)| pod["spec"]["containers"].is_array();
    let Some((prefix, pod)) = templates.into_iter().find(with_containers) else {
        return Vec::new();
    };
    let annotations: BTreeMap<String, String> = pod["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    let mut findings = Vec::new();
    let mut names = Vec::new();
    for list in ["containers", "initContainers"] {
        for (i, container) in pod["spec"][list]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let path = format!("{prefix}spec.{list}[{i}].lifecycle");
            findings.extend(self::container(&path, container, &annotations));
            names.extend(container["name"].as_str());
        }
    }
    for key in annotations.keys() {
        let name = key.strip_prefix(ANNOTATION_PREFIX);
        if name.is_some_and(|name| !names.contains(&name)) {
            findings.push(Finding {
                verdict: Verdict::Doubtful,
                subject: format!("annotation {key}"),
                text: "the pod has no such container: its hooks will not run".to_owned(),
            });
        }
    }
    findings
}

/// The container's field, which the kubelet runs or `podhook apply` passes on, and the annotation.
fn container(path: &str, container: &Value, pod: &BTreeMap<String, String>) -> Vec<Finding> {
    let name = container["name"].as_str().unwrap_or_default();
    let subject = format!("container {name}");
    let mut findings = Vec::new();
    if container["lifecycle"].is_object() {
        let ports = named_ports(container);
        let lifecycle = Lifecycle::from_value(&container["lifecycle"], &Ports::Listed(&ports));
        let lifecycle = lifecycle.map(Some).map_err(|e| match e.path.is_empty() {
            true => format!("{path}: {}", e.reason),
            false => format!("{path}.{}: {}", e.path, e.reason),
        });
        findings.push(Finding::of(&subject, lifecycle));
    }
    let key = format!("{ANNOTATION_PREFIX}{name}");
    if let Some(value) = pod.get(&key) {
        // What reaches the shim: the pod's annotation, and what CRI and the kubelet say of the container.
        let annotations = BTreeMap::from([
            (key, value.clone()),
            (NAME.to_owned(), name.to_owned()),
            (
                PORTS.to_owned(),
                container["ports"].as_array().map_or_else(
                    || "[]".to_owned(),
                    |ports| Value::from(ports.clone()).to_string(),
                ),
            ),
        ]);
        let lifecycle = Lifecycle::from_annotations(&annotations, None);
        findings.push(Finding::of(&subject, lifecycle.map_err(|e| e.to_string())));
    }
    findings
}

fn named_ports(container: &Value) -> Vec<(String, u16)> {
    let ports = container["ports"].as_array().into_iter().flatten();
    let named = |port: &Value| {
        let number = u16::try_from(port["containerPort"].as_u64()?).ok()?;
        Some((port["name"].as_str()?.to_owned(), number))
    };
    ports.filter_map(named).collect()
}

/// What a lifecycle says, on one line.
fn describe(lifecycle: Option<&Lifecycle>) -> String {
    let Some(lifecycle) = lifecycle else {
        return "no hooks".to_owned();
    };
    let mut parts = Vec::new();
    for (name, hook) in [
        ("postStart", &lifecycle.post_start),
        ("preStop", &lifecycle.pre_stop),
    ] {
        if let Some(hook) = hook {
            let timeout = hook
                .timeout
                .map(|timeout| format!(" within {}s", timeout.as_secs()));
            parts.push(format!(
                "{name} {}{}",
                hook.handler.describe(),
                timeout.unwrap_or_default()
            ));
        }
    }
    if let Some(signal) = &lifecycle.stop_signal {
        parts.push(format!(
            "stopSignal {}",
            podhook_hooks::signal::name(signal.number())
        ));
    }
    if let Some(grace) = lifecycle.termination_grace_period {
        parts.push(format!("grace period {}s", grace.as_secs()));
    }
    if lifecycle.output.is_some() {
        parts.push("output".to_owned());
    }
    format!("ok: {}", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> (Verdict, String) {
        let mut findings = check(text);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let finding = findings.remove(0);
        let subject = match finding.subject.as_str() {
            "" => String::new(),
            subject => format!("{subject}: "),
        };
        (finding.verdict, subject + &finding.text)
    }

    #[test]
    fn an_annotations_value_is_judged_as_create_does() {
        for (text, verdict, says) in [
            (
                r#"{"preStop": {"sleep": {"seconds": 5}, "timeoutSeconds": 9}, "terminationGracePeriodSeconds": 60}"#,
                Verdict::Good,
                "ok: preStop sleep 5s within 9s; grace period 60s",
            ),
            (
                r#"{"postStart": {"exec": {"command": []}}}"#,
                Verdict::Refused,
                "podhook: annotation podhook.dev/lifecycle: postStart.exec.command: must not be empty",
            ),
            (
                r#"{"preStop": {"exec": {"command": ["a"]}, "sleep": {"seconds": 1}}}"#,
                Verdict::Refused,
                "podhook: annotation podhook.dev/lifecycle: preStop: has exec and sleep, exactly one handler is allowed",
            ),
            ("{}\n", Verdict::Good, "no hooks"),
        ] {
            assert_eq!(one(text), (verdict, says.to_owned()), "{text}");
        }
        // YAML is no annotation, and neither is nothing.
        for text in ["preStop: {sleep: {seconds: 5}}", "", "[", "\u{1b}[2J"] {
            let (verdict, says) = one(text);
            assert_eq!(verdict, Verdict::Refused, "{text:?}");
            assert!(
                says.contains("podhook.dev/lifecycle: is not valid JSON: "),
                "{says}"
            );
        }
    }

    const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    metadata:
      annotations:
        lifecycle.podhook.dev/web: '{"preStop": {"httpGet": {"port": "http"}}}'
        lifecycle.podhook.dev/wbe: '{"preStop": {"sleep": {"seconds": 1}}}'
    spec:
      containers:
      - name: web
        livenessProbe: {httpGet: {port: 80}}
        ports: [{name: http, containerPort: 8080}]
      - name: log
        lifecycle: {preStop: {httpGet: {port: nope}}}
---
"#;

    #[test]
    fn the_containers_of_a_manifest_are_judged_one_by_one() {
        let findings = check(DEPLOYMENT);
        let said: Vec<_> = findings
            .iter()
            .map(|f| (&f.verdict, format!("{}: {}", f.subject, f.text)))
            .collect();
        assert_eq!(
            said,
            [
                (&Verdict::Good, "container web: ok: preStop httpGet HTTP :8080/".to_owned()),
                (
                    &Verdict::Refused,
                    "container log: spec.template.spec.containers[1].lifecycle.preStop.httpGet.port: \
                     port name \"nope\" is not a port of the container"
                        .to_owned()
                ),
                (
                    &Verdict::Doubtful,
                    "annotation lifecycle.podhook.dev/wbe: the pod has no such container: its hooks will not run"
                        .to_owned()
                ),
            ]
        );
    }

    #[test]
    fn a_manifest_without_hooks_says_so() {
        let (verdict, says) = one("kind: Pod\napiVersion: v1\nspec: {containers: [{name: a}]}\n");
        assert_eq!(
            (verdict, says.as_str()),
            (Verdict::Doubtful, "no container with lifecycle hooks")
        );
    }
}
