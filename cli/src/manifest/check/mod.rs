//! What is right and wrong in a manifest, or in the value of an annotation, for all who ask before there is a container.

#![allow(
    clippy::indexing_slicing,
    reason = "read of a Value: what is not there is null"
)]

mod grace;
mod kubernetes;
#[cfg(test)]
mod tests;

use podhook_hooks::lifecycle::{Lifecycle, OWN_ANNOTATION, Policy};
use serde_json::Value;

use crate::manifest::convert;
use crate::manifest::judgement::{self, Annotations, Refusal};
use crate::manifest::source::Source;
use crate::manifest::workload::{self, Workload};
use crate::manifest::{self, Path};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Doubtful,
    Refused,
}

/// What is judged beside what is wrong on every node.
pub(crate) struct Rules {
    /// What the node's operator allows.
    pub(crate) policy: Policy,
    /// Whether all of a pod is judged, or what is about hooks.
    pub(crate) whole: bool,
    /// Whether `podhook apply` is to run it.
    pub(crate) apply: bool,
    /// RuntimeClasses that run podhook's shim, beside those whose name says so.
    pub(crate) classes: Vec<String>,
}

/// Where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) document: usize,
    /// As `deployment/web`.
    pub(crate) object: String,
    pub(crate) path: Path,
    pub(crate) inside: Option<Inside>,
}

/// Where in the JSON that an annotation holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inside {
    Field(String),
    Byte(usize),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// As `container nginx`.
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) hint: String,
    pub(crate) at: At,
}

impl Finding {
    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

pub(crate) const NO_HOOKS: &str = "no container with lifecycle hooks";
/// Of what makes pods, which `podhook apply` does not take.
pub(crate) const TWICE: &str =
    "an annotation of the pod sets hooks of this container too: under a kubelet those of both run";

/// The findings on a file: manifests, where a document has a kind, else the value of an annotation. `source` is the
/// text as it was read, if it could be.
pub(crate) fn findings(text: &str, source: Option<&Source<'_>>, rules: &Rules) -> Vec<Finding> {
    let documents = source.map_or(&[][..], Source::values);
    if documents
        .iter()
        .any(|document| document["kind"].is_string())
    {
        let mut findings = Vec::new();
        for (i, value) in documents.iter().enumerate() {
            for workload in workload::workloads(value) {
                findings.extend(Judge::of(i, &workload, rules).findings());
            }
            findings.extend(workload::misplaced(value).map(|(wrong, right)| {
                let at = At {
                    document: i,
                    path: Path::parse(wrong),
                    ..At::default()
                };
                let text = format!("{wrong}: its pods' template is {right}");
                refused(&at, "", text)
            }));
        }
        if findings.is_empty() {
            return vec![doubtful(&At::default(), "", NO_HOOKS)];
        }
        return findings;
    }
    // As the annotation holds it, its line's end excepted.
    let text = text.trim_end();
    let annotations = Annotations::from([(OWN_ANNOTATION.to_owned(), text.to_owned())]);
    match judgement::create(&rules.policy, &annotations, "", None) {
        Ok(lifecycle) => vec![good(&At::default(), "", lifecycle.as_ref())],
        Err(refusal) => {
            let at = At {
                inside: inside(text, &refusal),
                ..At::default()
            };
            vec![refused(&at, "", annotation_text(&refusal))]
        }
    }
}

/// The findings on what makes pods in a document.
pub(crate) fn of_document(number: usize, document: &Value, rules: &Rules) -> Vec<Finding> {
    workload::workloads(document)
        .iter()
        .flat_map(|workload| Judge::of(number, workload, rules).findings())
        .collect()
}

/// Whether a document says what it is.
pub(crate) fn has_manifests(source: &Source<'_>) -> bool {
    source
        .values()
        .iter()
        .any(|document| document["kind"].is_string())
}

/// The field of the JSON, or where it is no JSON.
fn inside(text: &str, refusal: &Refusal) -> Option<Inside> {
    if !refusal.path.is_empty() {
        return Some(Inside::Field(refusal.path.clone()));
    }
    let error = serde_json::from_str::<Value>(text).err()?;
    let lines = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1));
    let before: usize = lines.map(str::len).sum();
    Some(Inside::Byte(
        before.saturating_add(error.column().saturating_sub(1)),
    ))
}

/// Whether a text that cannot be read is a manifest all the same.
pub(crate) fn looks_like_manifest(text: &str) -> bool {
    let is_field = |line: &str| line.starts_with("kind:") || line.starts_with("apiVersion:");
    text.trim_start_matches('\u{feff}').lines().any(is_field)
}

fn finding(verdict: Verdict, at: &At, subject: &str, text: impl Into<String>) -> Finding {
    Finding {
        verdict,
        subject: subject.to_owned(),
        text: text.into(),
        hint: String::new(),
        at: at.clone(),
    }
}

pub(crate) fn refused(at: &At, subject: &str, text: impl Into<String>) -> Finding {
    finding(Verdict::Refused, at, subject, text)
}

fn doubtful(at: &At, subject: &str, text: impl Into<String>) -> Finding {
    finding(Verdict::Doubtful, at, subject, text)
}

fn good(at: &At, subject: &str, lifecycle: Option<&Lifecycle>) -> Finding {
    finding(Verdict::Good, at, subject, describe(lifecycle))
}

/// What Create says, in its words.
fn annotation_text(refusal: &Refusal) -> String {
    format!("podhook: annotation {}: {}", refusal.key, refusal.reason)
}

/// One pod, or one template of pods.
struct Judge<'v> {
    workload: &'v Workload<'v>,
    pod: &'v Value,
    document: usize,
    /// What is before the pod's own fields, as `spec.template.`.
    prefix: String,
    rules: &'v Rules,
    annotations: Annotations,
    findings: Vec<Finding>,
}

impl<'v> Judge<'v> {
    fn of(document: usize, workload: &'v Workload<'v>, rules: &'v Rules) -> Self {
        let prefix = match workload.template.to_string() {
            path if path.is_empty() => path,
            path => path + ".",
        };
        Self {
            workload,
            pod: workload.pod(),
            document,
            prefix,
            rules,
            annotations: Annotations::new(),
            findings: Vec::new(),
        }
    }

    /// A place in the object.
    fn at(&self, path: &str) -> At {
        At {
            document: self.document,
            object: self.workload.name(),
            path: self.workload.at.join(&Path::parse(path)),
            inside: None,
        }
    }

    fn at_annotation(&self, key: &str) -> At {
        let mut at = self.at(&format!("{}metadata.annotations", self.prefix));
        at.path = at.path.key(key);
        at
    }

    fn is_pod(&self) -> bool {
        self.workload.kind() == "Pod"
    }

    fn findings(mut self) -> Vec<Finding> {
        self.read_annotations();
        if !self.prefix.is_empty() {
            self.misplaced();
        }
        let mut names = Vec::new();
        for container in convert::containers(self.pod) {
            let path = format!("{}{}", self.prefix, container.at);
            match self.forbidden(&container) {
                true => self.is_forbidden(&path, container.value),
                false => self.container(&path, container.value),
            }
            self.overlap(&path, container.value);
            names.extend(container.value["name"].as_str());
        }
        self.without_effect(&names);
        self.without_class(&names);
        self.stop_signals();
        if self.is_pod() && self.findings.is_empty() {
            let at = self.at("");
            self.findings.push(doubtful(&at, "", NO_HOOKS));
        }
        if !self.rules.whole {
            return self.findings;
        }
        if self.is_pod() {
            self.whole_pod();
        } else if self.workload.is_known {
            self.unknown_fields();
            self.without_containers(&names);
            self.of_template();
        }
        self.findings
    }

    /// The pod's annotations. One that is no text is refused by the API server.
    fn read_annotations(&mut self) {
        let all = self.pod["metadata"]["annotations"].as_object();
        for (key, value) in all.into_iter().flatten() {
            if let Some(text) = value.as_str() {
                self.annotations.insert(key.clone(), text.to_owned());
            } else if judgement::is_ours(key) {
                let text = format!(
                    "must be a string: write the JSON in quotes, '{}'",
                    short(value)
                );
                let subject = format!("annotation {key}");
                self.findings
                    .push(refused(&self.at_annotation(key), &subject, text));
            }
        }
    }

    /// Annotations of what makes pods are not its pods'.
    fn misplaced(&mut self) {
        let all = self.workload.object["metadata"]["annotations"].as_object();
        for (key, _) in all
            .into_iter()
            .flatten()
            .filter(|(key, _)| judgement::is_ours(key))
        {
            let text = format!(
                "is the {}'s own and not its pods': write it into {}metadata.annotations",
                self.workload.kind(),
                self.prefix
            );
            let mut at = self.at("metadata.annotations");
            at.path = at.path.key(key);
            self.findings
                .push(doubtful(&at, &format!("annotation {key}"), text));
        }
    }

    /// The container's field, which the kubelet runs or `podhook apply` passes on, and the annotations.
    fn container(&mut self, path: &str, container: &Value) {
        let name = name(container);
        let subject = subject(container);
        let spec = &self.pod["spec"]["terminationGracePeriodSeconds"];
        if !container["lifecycle"].is_null() {
            let at = self.at(&format!("{path}.lifecycle"));
            match manifest::lifecycle_in_spec(container, path, self.grace()) {
                Ok(lifecycle) => {
                    self.findings.push(good(&at, &subject, lifecycle.as_ref()));
                    self.too_long(&at, &subject, lifecycle.as_ref(), spec);
                }
                Err(faults) => self.findings.extend(faults.iter().map(|fault| {
                    let at = At {
                        path: self.workload.at.join(&Path::parse(fault.path())),
                        ..at.clone()
                    };
                    refused(&at, &subject, fault.to_string())
                })),
            }
        }
        let live = self
            .annotations
            .keys()
            .find(|key| judgement::is_live(key, name));
        let Some(live) = live else {
            return;
        };
        let at = self.at_annotation(live);
        let ports = container["ports"].as_array();
        let ports = ports.map_or_else(
            || "[]".to_owned(),
            |ports| Value::from(ports.clone()).to_string(),
        );
        match judgement::create(&self.rules.policy, &self.annotations, name, Some(&ports)) {
            Ok(lifecycle) => {
                self.findings.push(good(&at, &subject, lifecycle.as_ref()));
                self.too_long(&at, &subject, lifecycle.as_ref(), spec);
            }
            Err(refusal) => {
                let mut at = self.at_annotation(&refusal.key);
                let text = self.annotations.get(&refusal.key);
                at.inside = text.and_then(|text| inside(text, &refusal));
                self.findings
                    .push(refused(&at, &subject, annotation_text(&refusal)));
            }
        }
    }

    /// Hooks that have less time than they want.
    fn too_long(&mut self, at: &At, subject: &str, lifecycle: Option<&Lifecycle>, spec: &Value) {
        let is_annotation = judgement::is_ours(at.path.split_key().map_or("", |(_, key)| key));
        let cuts = lifecycle
            .into_iter()
            .flat_map(|lifecycle| grace::cuts(lifecycle, spec));
        // A kubelet waits for its own postStart.
        for cut in cuts.filter(|cut| is_annotation || cut.field.starts_with("preStop")) {
            let mut at = at.clone();
            match is_annotation {
                true => at.inside = Some(Inside::Field(cut.field.clone())),
                false => at.path = at.path.join(&Path::parse(&cut.field)),
            }
            let text = format!("{}: {}", cut.field, cut.reason);
            self.findings
                .push(doubtful(&at, subject, text).hint(cut.hint));
        }
    }

    fn overlap(&mut self, path: &str, container: &Value) {
        let subject = subject(container);
        for cause in manifest::overlap_in_spec(container, path, &self.annotations) {
            let at = self.at(&cause.path);
            self.findings.push(match self.is_pod() {
                true => refused(&at, &subject, cause.to_string()),
                false => doubtful(&at, &subject, format!("{}: {TWICE}", cause.path)),
            });
        }
    }

    fn without_effect(&mut self, names: &[&str]) {
        for (key, reason) in judgement::without_effect(self.annotations.keys(), names) {
            let hint = match key.starts_with(manifest::ANNOTATION_PREFIX) {
                true if names.is_empty() => "the pod has no containers".to_owned(),
                true => format!("the pod's containers: {}", names.join(", ")),
                false => String::new(),
            };
            let at = self.at_annotation(&key);
            let finding = doubtful(&at, &format!("annotation {key}"), reason);
            self.findings.push(finding.hint(hint));
        }
    }

    /// Annotations that are podhook's, of a pod that does not say that it is.
    fn without_class(&mut self, names: &[&str]) {
        let live = |key: &&String| names.iter().any(|name| judgement::is_live(key, name));
        let class = self.pod["spec"]["runtimeClassName"]
            .as_str()
            .unwrap_or_default();
        let Some(key) = self.annotations.keys().find(live) else {
            return;
        };
        let subject = format!("annotation {key}");
        let hint = format!("{}spec.runtimeClassName: podhook", self.prefix);
        if class.is_empty() {
            let text = "the pod has no runtimeClassName: its hooks run only where podhook is the nodes' default runtime";
            let finding = doubtful(&self.at_annotation(key), &subject, text);
            self.findings.push(finding.hint(hint));
            return;
        }
        // A webhook is asked of its own classes only.
        let is_ours = class.starts_with(convert::OWN_CLASSES)
            || self.rules.classes.iter().any(|one| one == class)
            || !self.rules.whole;
        if !is_ours {
            let text = format!(
                "the pod's runtimeClassName is {class}: unless that runs podhook's shim, its hooks will silently not run"
            );
            let at = self.at(&format!("{}spec.runtimeClassName", self.prefix));
            let hint = format!("{hint}, or podhook check --runtime-class {class}, if it does");
            self.findings.push(doubtful(&at, &subject, text).hint(hint));
        }
    }

    /// What only a pod with an `os` may have, for Kubernetes; podhook takes it from an annotation without.
    fn stop_signals(&mut self) {
        if !self.rules.whole {
            return;
        }
        for at in convert::refused_signals(self.pod) {
            let path = format!("{}{at}", self.prefix);
            let text = format!("{path}: {}", convert::NO_OS);
            // `podhook apply` takes it.
            let verdict = match self.is_pod() || self.may_be_patch() {
                true => Verdict::Doubtful,
                false => Verdict::Refused,
            };
            let finding = finding(verdict, &self.at(&path), "", text);
            self.findings
                .push(finding.hint(format!("{}{}", self.prefix, convert::OS)));
        }
    }

    /// What `apply` would say of the rest of a Pod.
    fn whole_pod(&mut self) {
        for (podhook_alone, path, reason) in manifest::refusals(self.workload.object) {
            if self.findings.iter().any(|finding| finding.text == reason) {
                continue;
            }
            let at = self.at(&path);
            // An annotation that is no text, for example: it is said already, and how to write it.
            let is_said = |finding: &Finding| {
                finding.verdict == Verdict::Refused && finding.at.path == at.path
            };
            if !path.is_empty() && self.findings.iter().any(is_said) {
                continue;
            }
            match podhook_alone {
                true if !self.rules.apply => {}
                true => {
                    let text = format!("podhook apply would refuse the pod: {reason}");
                    self.findings.push(doubtful(&at, "", text));
                }
                false => self.findings.push(refused(&at, "", reason)),
            }
        }
    }

    /// A template that makes no pod; of a Pod it is said with the rest.
    fn without_containers(&mut self, names: &[&str]) {
        if names.is_empty() && self.pod["spec"]["containers"].is_null() {
            let path = format!("{}spec.containers", self.prefix);
            let text =
                format!("{path}: Required value, unless this is a patch of another manifest");
            let at = self.at(&format!("{}spec", self.prefix));
            self.findings.push(doubtful(&at, "", text));
        }
    }

    /// Fields of a template that Kubernetes does not have.
    fn unknown_fields(&mut self) {
        for fault in manifest::unknown_in_template(self.pod, self.prefix.trim_end_matches('.')) {
            let text = fault.to_string();
            if self.findings.iter().all(|finding| finding.text != text) {
                self.findings
                    .push(refused(&self.at(fault.path()), "", text));
            }
        }
    }
}

fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

fn subject(container: &Value) -> String {
    match name(container) {
        "" => "a container without a name".to_owned(),
        name => format!("container {name}"),
    }
}

fn short(value: &Value) -> String {
    podhook_hooks::lifecycle::text::shorten(&value.to_string(), 200)
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
