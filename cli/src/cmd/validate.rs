//! `podhook validate`: what Create would say of a lifecycle, said before there is a container.

use std::io::Read;
use std::path::Path;

use podhook_hooks::config::Config;
use podhook_hooks::lifecycle::{Lifecycle, OWN_ANNOTATION, Policy, Ports};
use serde_json::Value;

use super::error::Error;
use crate::args;
use crate::manifest::judgement::{self, Annotations};
use crate::manifest::yaml;
use crate::output::escape::visible;
use crate::output::print;

/// Runs the command.
///
/// # Errors
/// [`Error::Reported`] when a lifecycle is refused.
pub fn run(args: &args::Validate) -> Result<(), Error> {
    let mut refused = false;
    let policy = match &args.config {
        Some(path) => {
            let config = Config::load(path).map_err(|e| Error::Refused(e.to_string()))?;
            config.policy
        }
        None => Policy::default(),
    };
    for path in &args.files {
        let (origin, text) = read(path)?;
        for finding in check(&text, &policy) {
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
fn check(text: &str, policy: &Policy) -> Vec<Finding> {
    let documents = match yaml::documents(text) {
        Ok(documents) => documents,
        Err(e) if looks_like_manifest(text) => return vec![refused("", e)],
        Err(_) => Vec::new(),
    };
    if documents
        .iter()
        .any(|document| document["kind"].is_string())
    {
        let findings: Vec<_> = documents.iter().flat_map(|d| document(d, policy)).collect();
        if findings.is_empty() {
            return vec![doubtful("", "no container with lifecycle hooks")];
        }
        return findings;
    }
    // As the annotation holds it, its line's end excepted.
    let annotations = Annotations::from([(OWN_ANNOTATION.to_owned(), text.trim_end().to_owned())]);
    vec![Finding::of("", annotated(policy, &annotations, "", None))]
}

fn looks_like_manifest(text: &str) -> bool {
    let is_field = |line: &str| line.starts_with("kind:") || line.starts_with("apiVersion:");
    text.lines().any(is_field)
}

fn refused(subject: &str, text: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Refused,
        subject: subject.to_owned(),
        text: text.into(),
    }
}

fn doubtful(subject: &str, text: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Doubtful,
        subject: subject.to_owned(),
        text: text.into(),
    }
}

/// What Create says, in its words.
fn annotated(
    policy: &Policy,
    pod: &Annotations,
    container: &str,
    ports: Option<&str>,
) -> Result<Option<Lifecycle>, String> {
    judgement::create(policy, pod, container, ports)
        .map_err(|e| format!("podhook: annotation {}: {}", e.key, e.reason))
}

/// A pod, what makes pods (`spec.template`), or a list of such.
fn document(document: &Value, policy: &Policy) -> Vec<Finding> {
    if let Some(items) = document["items"].as_array() {
        return items
            .iter()
            .flat_map(|item| self::document(item, policy))
            .collect();
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
    let mut findings = Vec::new();
    let annotations = annotations(pod, &mut findings);
    if !prefix.is_empty() {
        findings.extend(misplaced(document, prefix));
    }
    let mut names = Vec::new();
    for list in ["containers", "initContainers"] {
        for (i, container) in pod["spec"][list]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let path = format!("{prefix}spec.{list}[{i}].lifecycle");
            findings.extend(self::container(&path, container, &annotations, policy));
            names.extend(container["name"].as_str());
        }
    }
    let doubts = judgement::without_effect(annotations.keys(), &names);
    findings.extend(
        doubts
            .into_iter()
            .map(|(key, reason)| doubtful(&format!("annotation {key}"), reason)),
    );
    findings
}

/// The pod's annotations. One that is no text is refused by the API server.
fn annotations(pod: &Value, findings: &mut Vec<Finding>) -> Annotations {
    let all = pod["metadata"]["annotations"].as_object();
    let mut annotations = Annotations::new();
    for (key, value) in all.into_iter().flatten() {
        match value.as_str() {
            Some(text) => {
                annotations.insert(key.clone(), text.to_owned());
            }
            None if judgement::is_ours(key) => findings.push(refused(
                &format!("annotation {key}"),
                format!(
                    "must be a string: write the JSON in quotes, '{}'",
                    short(value)
                ),
            )),
            None => {}
        }
    }
    annotations
}

fn short(value: &Value) -> String {
    podhook_hooks::lifecycle::text::shorten(&value.to_string(), 200)
}

/// Annotations of what makes pods are not its pods'.
fn misplaced(document: &Value, prefix: &str) -> Vec<Finding> {
    let all = document["metadata"]["annotations"].as_object();
    let ours = all
        .into_iter()
        .flatten()
        .filter(|(key, _)| judgement::is_ours(key));
    let kind = document["kind"].as_str().unwrap_or_default();
    ours.map(|(key, _)| {
        let text = format!(
            "is the {kind}'s own and not its pods': write it into {prefix}metadata.annotations"
        );
        doubtful(&format!("annotation {key}"), text)
    })
    .collect()
}

/// The container's field, which the kubelet runs or `podhook apply` passes on, and the annotations.
fn container(path: &str, container: &Value, pod: &Annotations, policy: &Policy) -> Vec<Finding> {
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
    if pod.keys().any(|key| judgement::is_live(key, name)) {
        let ports = container["ports"].as_array().map_or_else(
            || "[]".to_owned(),
            |ports| Value::from(ports.clone()).to_string(),
        );
        findings.push(Finding::of(
            &subject,
            annotated(policy, pod, name, Some(&ports)),
        ));
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
        let mut findings = check(text, &Policy::default());
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
        let findings = check(DEPLOYMENT, &Policy::default());
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

    fn pod(annotations: &str) -> Vec<(Verdict, String)> {
        let text = format!(
            "kind: Pod\napiVersion: v1\nmetadata:\n  annotations:\n    {annotations}\n\
             spec:\n  containers: [{{name: web}}, {{name: log}}]\n  initContainers: [{{name: init}}]\n"
        );
        let findings = check(&text, &Policy::default());
        let said = findings
            .into_iter()
            .map(|f| (f.verdict, format!("{}: {}", f.subject, f.text)));
        said.collect()
    }

    #[test]
    fn an_annotation_for_every_container_is_judged_for_each_as_create_does() {
        let good = pod(r#"podhook.dev/lifecycle: '{"preStop": {"sleep": {"seconds": 5}}}'"#);
        let expected = ["web", "log", "init"].map(|name| {
            (
                Verdict::Good,
                format!("container {name}: ok: preStop sleep 5s"),
            )
        });
        assert_eq!(good, expected);
        let refused = pod(r#"podhook.dev/lifecycle: '{"preStop": {"sleep": {}}}'"#);
        let expected = ["web", "log", "init"].map(|name| {
            let says =
                "podhook: annotation podhook.dev/lifecycle: preStop.sleep.seconds: is required";
            (Verdict::Refused, format!("container {name}: {says}"))
        });
        assert_eq!(refused, expected);
    }

    #[test]
    fn yaml_in_the_place_of_json_is_refused_with_the_json() {
        let json = r#"{"preStop":{"sleep":{"seconds":5}}}"#;
        // A block of text, and no text at all: the API server takes only the first.
        for (value, says) in [
            (
                "|\n      lifecycle:\n        preStop: {sleep: {seconds: 5}}",
                ", without the word lifecycle: ",
            ),
            (
                "{preStop: {sleep: {seconds: 5}}}",
                "must be a string: write the JSON in quotes, '",
            ),
        ] {
            let found = pod(&format!("lifecycle.podhook.dev/web: {value}"));
            assert_eq!(found.len(), 1, "{found:?}");
            let (verdict, text) = &found[0];
            assert_eq!(*verdict, Verdict::Refused);
            assert!(text.contains(&format!("{says}{json}")), "{text}");
        }
    }

    #[test]
    fn a_broken_manifest_is_not_taken_for_an_annotation() {
        let (verdict, says) = one("kind: Pod\nmetadata:\n  name: a\n  name: b\n");
        assert_eq!(verdict, Verdict::Refused);
        assert!(
            says.contains("key \"name\" is there twice") && !says.contains("JSON"),
            "{says}"
        );
    }

    #[test]
    fn annotations_that_no_pod_will_have_are_doubtful() {
        let text = DEPLOYMENT.replacen(
            "spec:",
            "metadata: {annotations: {podhook.dev/lifecycle: '{}'}}\nspec:",
            1,
        );
        let found = check(&text, &Policy::default());
        let misplaced = found
            .iter()
            .find(|f| f.subject == "annotation podhook.dev/lifecycle")
            .unwrap();
        assert_eq!(misplaced.verdict, Verdict::Doubtful);
        assert!(
            misplaced
                .text
                .contains("spec.template.metadata.annotations"),
            "{}",
            misplaced.text
        );
        let found = pod("podhook.dev/lifecyle: '{}'");
        assert!(
            found[0].0 == Verdict::Doubtful && found[0].1.contains("knows no such annotation"),
            "{found:?}"
        );
    }

    #[test]
    fn what_the_nodes_operator_does_not_allow_is_refused() {
        let policy = Config::parse("allowed_hosts = 'pod'", "config.toml")
            .unwrap()
            .policy;
        let text = r#"{"preStop": {"tcpSocket": {"port": 1, "host": "db"}}}"#;
        let found = check(text, &policy);
        assert_eq!(found[0].verdict, Verdict::Refused);
        assert!(
            found[0].text.contains("allowed_hosts of config.toml"),
            "{}",
            found[0].text
        );
        assert_eq!(check(text, &Policy::default())[0].verdict, Verdict::Good);
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
