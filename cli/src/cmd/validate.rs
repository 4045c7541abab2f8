//! `podhook validate`: what Create would say of a lifecycle, said before there is a container.

#![allow(
    clippy::indexing_slicing,
    reason = "read of a Value: what is not there is null"
)]

use std::io::Read;
use std::path::Path;

use podhook_hooks::config::Config;
use podhook_hooks::lifecycle::{Lifecycle, OWN_ANNOTATION, Policy};
use serde_json::Value;

use super::error::Error;
use crate::args;
use crate::manifest::judgement::{self, Annotations};
use crate::manifest::{self, yaml};
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
            config.policy()
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
            return vec![doubtful("", NO_HOOKS)];
        }
        return findings;
    }
    // As the annotation holds it, its line's end excepted.
    let annotations = Annotations::from([(OWN_ANNOTATION.to_owned(), text.trim_end().to_owned())]);
    vec![Finding::of("", annotated(policy, &annotations, "", None))]
}

const NO_HOOKS: &str = "no container with lifecycle hooks";
/// Of what makes pods, which `podhook apply` does not take.
const TWICE: &str =
    "an annotation of the pod sets hooks of this container too: under a kubelet those of both run";

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
            let path = format!("{prefix}spec.{list}[{i}]");
            findings.extend(self::container(&path, container, &annotations, policy));
            let overlap = manifest::overlap_in_spec(container, &path, &annotations);
            let subject = format!("container {}", name(container));
            findings.extend(overlap.into_iter().map(|cause| match prefix {
                "" => refused(&subject, cause.to_string()),
                _ => doubtful(&subject, format!("{}: {TWICE}", cause.path)),
            }));
            names.extend(container["name"].as_str());
        }
    }
    let doubts = judgement::without_effect(annotations.keys(), &names);
    findings.extend(
        doubts
            .into_iter()
            .map(|(key, reason)| doubtful(&format!("annotation {key}"), reason)),
    );
    if document["kind"] == "Pod" {
        if findings.is_empty() {
            findings.push(doubtful("", NO_HOOKS));
        }
        findings.extend(whole_pod(document, &findings));
    }
    findings
}

/// What `apply` would say of the rest of a Pod.
fn whole_pod(document: &Value, said: &[Finding]) -> Vec<Finding> {
    let rest = manifest::refusals(document);
    rest.into_iter()
        .filter(|(_, reason)| said.iter().all(|finding| finding.text != *reason))
        .map(|(podhook_alone, reason)| match podhook_alone {
            true => doubtful("", format!("podhook apply would refuse the pod: {reason}")),
            false => refused("", reason),
        })
        .collect()
}

fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
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
    let name = name(container);
    let subject = format!("container {name}");
    let mut findings = Vec::new();
    if !container["lifecycle"].is_null() {
        match manifest::lifecycle_in_spec(container, path) {
            Ok(lifecycle) => findings.push(Finding::of(&subject, Ok(lifecycle))),
            Err(reasons) => findings.extend(reasons.iter().map(|text| refused(&subject, text))),
        }
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
                     Invalid value: port name \"nope\" is not a port of the container"
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
            "kind: Pod\napiVersion: v1\nmetadata:\n  name: shop\n  annotations:\n    {annotations}\n\
             spec:\n  containers: [{{name: web, image: a}}, {{name: log, image: a}}]\n  initContainers: [{{name: init}}]\n"
        );
        let mut findings = check(&text, &Policy::default());
        let last = findings.pop().unwrap();
        assert_eq!(last.verdict, Verdict::Doubtful);
        assert_eq!(
            last.text,
            "podhook apply would refuse the pod: spec.initContainers: not supported by podhook"
        );
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
            .policy();
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

    /// The findings for a Pod whose container `a` has these lines.
    fn in_spec(metadata: &str, container: &str) -> Vec<(Verdict, String)> {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a{metadata}}}\n\
             spec: {{containers: [{{name: a, image: a, {container}}}]}}\n"
        );
        let findings = check(&text, &Policy::default());
        findings.into_iter().map(|f| (f.verdict, f.text)).collect()
    }

    #[test]
    fn what_apply_refuses_in_a_pods_spec_is_refused() {
        for (container, says) in [
            (
                "lifecycle: {preStop: {sleep: {seconds: 1}, timeoutSeconds: 5}}",
                "unknown field \"spec.containers[0].lifecycle.preStop.timeoutSeconds\" (podhook's own",
            ),
            (
                "lifecycle: {postStart: {sleep: {seconds: 1}, onFailure: Ignore}}",
                "unknown field \"spec.containers[0].lifecycle.postStart.onFailure\"",
            ),
            (
                "lifecycle: {output: container}",
                "unknown field \"spec.containers[0].lifecycle.output\"",
            ),
            (
                "lifecycle: {terminationGracePeriodSeconds: 5}",
                "unknown field \"spec.containers[0].lifecycle.terminationGracePeriodSeconds\"",
            ),
            (
                "lifecycle: 5",
                "spec.containers[0].lifecycle: expected an object, found 5",
            ),
            (
                "lifecycle: {preStop: {sleep: {seconds: soon}}}",
                "spec.containers[0].lifecycle.preStop.sleep.seconds: invalid type: string",
            ),
            (
                "lifecycle: {preStop: {}}",
                "spec.containers[0].lifecycle.preStop: Required value: must specify a handler type",
            ),
            (
                "lifecycel: {}",
                "unknown field \"spec.containers[0].lifecycel\"",
            ),
        ] {
            let found = in_spec("", container);
            let refused: Vec<_> = found
                .iter()
                .filter(|(v, _)| *v == Verdict::Refused)
                .collect();
            assert_eq!(refused.len(), 1, "{container}: {found:?}");
            assert!(refused[0].1.starts_with(says), "{container}: {found:?}");
        }
        // What a kubelet runs and podhook does not is no error of the pod.
        let found = in_spec(
            "",
            "livenessProbe: {tcpSocket: {port: 1}}, lifecycle: {preStop: {sleep: {seconds: 5.0}}}",
        );
        let expected = [
            (Verdict::Good, "ok: preStop sleep 5s"),
            (
                Verdict::Doubtful,
                "podhook apply would refuse the pod: spec.containers[0].livenessProbe: not supported by podhook",
            ),
        ];
        assert_eq!(
            found,
            expected.map(|(verdict, says)| (verdict, says.to_owned()))
        );
    }

    #[test]
    fn an_exec_timeout_in_a_pods_spec_is_taken_as_apply_does() {
        let found = in_spec(
            "",
            "lifecycle: {preStop: {exec: {command: [a, -], timeoutSeconds: 5}}}",
        );
        let says = r#"ok: preStop exec ["a" "-"] within 5s"#.to_owned();
        assert_eq!(found, [(Verdict::Good, says)]);
    }

    #[test]
    fn hooks_in_the_spec_and_in_an_annotation_are_refused_as_apply_does() {
        let spec = "lifecycle: {preStop: {sleep: {seconds: 1}}}";
        for (key, says) in [
            (
                "lifecycle.podhook.dev/a",
                "spec.containers[0].lifecycle: Forbidden: metadata.annotations[lifecycle.podhook.dev/a] sets the \
                 lifecycle of this container too",
            ),
            (
                "podhook.dev/lifecycle",
                "spec.containers[0].lifecycle.preStop: Forbidden: metadata.annotations[podhook.dev/lifecycle] sets it \
                 for every container",
            ),
        ] {
            let annotation = r#"'{"preStop": {"sleep": {"seconds": 1}}}'"#;
            let found = in_spec(&format!(", annotations: {{{key}: {annotation}}}"), spec);
            let refused: Vec<_> = found
                .iter()
                .filter(|(v, _)| *v == Verdict::Refused)
                .collect();
            assert_eq!(refused, [&(Verdict::Refused, says.to_owned())], "{found:?}");
        }
        // Under a kubelet both run.
        let text = DEPLOYMENT
            .replace("port: nope", "port: 80")
            .replace("/wbe", "/log");
        let found = check(&text, &Policy::default());
        let doubts: Vec<_> = found
            .iter()
            .filter(|f| f.verdict == Verdict::Doubtful)
            .collect();
        assert_eq!(doubts.len(), 1, "{found:?}");
        assert_eq!(
            doubts[0].text,
            format!("spec.template.spec.containers[1].lifecycle: {TWICE}")
        );
    }

    #[test]
    fn a_lifecycle_in_the_spec_that_says_nothing_is_no_hooks() {
        for lifecycle in ["{}", "{preStop: null}", "{postStart: null, preStop: null}"] {
            let found = in_spec("", &format!("lifecycle: {lifecycle}"));
            assert_eq!(
                found,
                [(Verdict::Good, "no hooks".to_owned())],
                "{lifecycle}"
            );
        }
    }

    #[test]
    fn a_manifest_without_hooks_says_so() {
        let text = "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: [{name: a, image: a}]}\n";
        let (verdict, says) = one(text);
        assert_eq!(
            (verdict, says.as_str()),
            (Verdict::Doubtful, "no container with lifecycle hooks")
        );
    }
}
