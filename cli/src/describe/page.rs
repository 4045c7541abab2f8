//! The page: labels on the left, values in columns.

use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::node;
use crate::output::age::rfc1123;
use crate::output::escape::visible;
use crate::output::pod::status;
use crate::pods::PodView;

/// A page of `Label: value` lines; the values of consecutive lines of one depth stand below each
/// other.
#[derive(Debug, Default)]
pub(crate) struct Page {
    lines: Vec<(usize, String, String)>,
}

impl Page {
    /// Adds a line at a depth of two blanks each; without value, a heading. What it says may come
    /// from a container.
    pub(crate) fn line(
        &mut self,
        depth: usize,
        label: impl Into<String>,
        value: impl Into<String>,
    ) {
        let visible = |text: String| visible(&text).into_owned();
        let (label, value) = (visible(label.into()), visible(value.into()));
        self.lines.push((depth, label, value));
    }

    /// A list below a heading; `<none>` beside it when there is nothing.
    pub(crate) fn list(
        &mut self,
        depth: usize,
        label: &str,
        items: impl IntoIterator<Item = String>,
    ) {
        let items: Vec<String> = items.into_iter().collect();
        let none = if items.is_empty() { "<none>" } else { "" };
        self.line(depth, label, none);
        for item in items {
            self.line(depth + 1, item, "");
        }
    }

    /// `key=value` pairs, one per line, the first beside the label (kubectl printLabelsMultiline).
    fn pairs<'a>(
        &mut self,
        label: &str,
        separator: &str,
        pairs: impl Iterator<Item = (&'a String, &'a String)>,
    ) {
        let mut label = label;
        for (key, value) in pairs {
            self.line(0, label, format!("{key}{separator}{value}"));
            label = "";
        }
        if !label.is_empty() {
            self.line(0, label, "<none>");
        }
    }

    /// The page as text.
    pub(crate) fn into_text(self) -> String {
        let mut text = String::new();
        let widths: Vec<usize> = (0..self.lines.len()).map(|i| self.width(i)).collect();
        for ((depth, label, value), width) in self.lines.iter().zip(widths) {
            let indent = "  ".repeat(*depth);
            let line = if value.is_empty() {
                format!("{indent}{label}")
            } else {
                format!("{indent}{label:width$}  {value}")
            };
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The widest label around line `i` at its depth; deeper lines do not end the block.
    fn width(&self, i: usize) -> usize {
        let depth = self.lines[i].0;
        let block = |line: &&(usize, String, String)| line.0 >= depth;
        let labels = |line: &(usize, String, String)| {
            (line.0 == depth && !line.2.is_empty()).then(|| line.1.chars().count())
        };
        let before = self.lines[..i]
            .iter()
            .rev()
            .take_while(block)
            .filter_map(labels);
        let after = self.lines[i..].iter().take_while(block).filter_map(labels);
        before.chain(after).max().unwrap_or(0)
    }
}

/// What stands above the containers.
pub(super) fn header(page: &mut Page, view: &PodView, pod: &Pod) {
    let spec = pod.spec.clone().unwrap_or_default();
    let state = pod.status.clone().unwrap_or_default();
    page.line(0, "Name:", &view.name);
    page.line(0, "Namespace:", &view.namespace);
    if let Some(class) = &spec.runtime_class_name {
        page.line(0, "Runtime Class Name:", class);
    }
    page.line(0, "Node:", node::name());
    if let Some(start) = &state.start_time {
        page.line(0, "Start Time:", rfc1123(start.0));
    }
    page.pairs("Labels:", "=", pod.metadata.labels.iter().flatten());
    page.pairs(
        "Annotations:",
        ": ",
        pod.metadata.annotations.iter().flatten(),
    );
    match &view.deletion {
        Some(deletion) => {
            page.line(
                0,
                "Status:",
                format!("Terminating (by {})", rfc1123(deletion.deletion_timestamp)),
            );
            page.line(
                0,
                "Termination Grace Period:",
                format!("{}s", deletion.grace_period_seconds),
            );
        }
        None => page.line(0, "Status:", state.phase.clone().unwrap_or_default()),
    }
    let reason = status(pod);
    if view.deletion.is_none() && Some(&reason) != state.phase.as_ref() {
        page.line(0, "Reason:", reason);
    }
    page.line(0, "IP:", state.pod_ip.clone().unwrap_or_default());
    page.list(
        0,
        "IPs:",
        state
            .pod_ips
            .into_iter()
            .flatten()
            .map(|ip| format!("IP:  {}", ip.ip)),
    );
    if let Some(sandbox) = view.sandboxes.first() {
        page.line(0, "Sandbox ID:", format!("containerd://{}", sandbox.id));
    }
}

/// What stands below the containers.
pub(super) fn footer(page: &mut Page, pod: &Pod) {
    let state = pod.status.clone().unwrap_or_default();
    page.line(0, "Conditions:", "");
    page.line(1, "Type", "Status");
    for condition in state.conditions.iter().flatten() {
        page.line(1, &condition.type_, &condition.status);
    }
    let volumes: Vec<&Volume> = pod
        .spec
        .iter()
        .flat_map(|s| s.volumes.iter().flatten())
        .collect();
    page.line(
        0,
        "Volumes:",
        if volumes.is_empty() { "<none>" } else { "" },
    );
    for volume in volumes {
        page.line(1, format!("{}:", volume.name), "");
        if let Some(host) = &volume.host_path {
            page.line(2, "Type:", "HostPath (bare host directory volume)");
            page.line(2, "Path:", &host.path);
            page.line(2, "HostPathType:", host.type_.clone().unwrap_or_default());
        } else if let Some(empty) = &volume.empty_dir {
            page.line(
                2,
                "Type:",
                "EmptyDir (a temporary directory that shares a pod's lifetime)",
            );
            page.line(2, "Medium:", empty.medium.clone().unwrap_or_default());
            let limit = empty
                .size_limit
                .as_ref()
                .map_or("<unset>", |q| q.0.as_str());
            page.line(2, "SizeLimit:", limit);
        }
    }
    page.line(0, "QoS Class:", state.qos_class.unwrap_or_default());
}
