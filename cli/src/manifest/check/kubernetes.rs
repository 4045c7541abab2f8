//! What the API server refuses of a pod beside the hooks themselves.

#![allow(
    clippy::indexing_slicing,
    reason = "read of a Value: what is not there is null"
)]

use std::collections::BTreeSet;

use podhook_hooks::lifecycle::{Handler, Lifecycle};
use serde_json::Value;

use super::{Judge, Verdict, finding, name, refused, subject};
use crate::manifest::{self, GRACE_PERIOD_SECONDS};

const PATCH: &str = "unless this is a patch of another manifest";
const LISTS: [&str; 2] = ["containers", "initContainers"];

impl Judge<'_> {
    fn containers(&self) -> impl Iterator<Item = (&'static str, usize, &Value)> {
        LISTS.into_iter().flat_map(|list| {
            let all = self.pod["spec"][list].as_array().into_iter().flatten();
            all.enumerate()
                .map(move |(i, container)| (list, i, container))
        })
    }

    /// Whether the rest may be in another file: a patch of kustomize's names no image.
    pub(super) fn may_be_patch(&self) -> bool {
        !self.is_pod() && self.containers().all(|(_, _, one)| one["image"].is_null())
    }

    /// Names and images; of a Pod that is said with the rest.
    pub(super) fn of_template(&mut self) {
        let mut names = BTreeSet::new();
        let mut found = Vec::new();
        let is_patch = self.may_be_patch();
        for (list, i, container) in self.containers() {
            let path = format!("{}spec.{list}[{i}]", self.prefix);
            let field = format!("{path}.name");
            if let Some(cause) = manifest::name_of_container(name(container), &field) {
                found.push(refused(&self.at(&field), "", cause.to_string()));
            } else if !names.insert(name(container)) {
                let text = format!("{field}: Duplicate value: {:?}", name(container));
                found.push(refused(&self.at(&field), "", text));
            }
            let image = container["image"].as_str();
            if image.is_none_or(str::is_empty) && !is_patch {
                let text = format!("{path}.image: Required value, {PATCH}");
                found.push(finding(Verdict::Doubtful, &self.at(&path), "", text));
            }
        }
        self.findings.extend(found);
    }

    /// Whether an init container ends before the others start: there is no hook then.
    pub(super) fn forbidden(&self, list: &str, container: &Value) -> bool {
        self.rules.whole
            && list == "initContainers"
            && !container["lifecycle"].is_null()
            && container["restartPolicy"].as_str() != Some("Always")
    }

    pub(super) fn is_forbidden(&mut self, path: &str, container: &Value) {
        let path = format!("{path}.lifecycle");
        let (verdict, patch) = match self.may_be_patch() {
            true => (Verdict::Doubtful, format!(", {PATCH}")),
            false => (Verdict::Refused, String::new()),
        };
        let text = format!(
            "{path}: Forbidden: may not be set for init containers without restartPolicy=Always{patch}"
        );
        let at = self.at(&path);
        self.findings
            .push(finding(verdict, &at, &subject(container), text));
    }

    /// A `sleep` that the API server refuses; whether there is one.
    pub(super) fn sleeps_too_long(
        &mut self,
        path: &str,
        container: &Value,
        lifecycle: Option<&Lifecycle>,
    ) -> bool {
        let said = &self.pod["spec"]["terminationGracePeriodSeconds"];
        let grace = match said.as_u64() {
            Some(grace) => grace,
            // Half of the manifest, or what is said of its type.
            None if !said.is_null() || self.may_be_patch() => return false,
            None => GRACE_PERIOD_SECONDS.unsigned_abs(),
        };
        if !self.rules.whole || !self.workload.is_known {
            return false;
        }
        let hooks = lifecycle.into_iter().flat_map(|lifecycle| {
            let both = [
                ("postStart", &lifecycle.post_start),
                ("preStop", &lifecycle.pre_stop),
            ];
            both.into_iter()
                .filter_map(|(name, hook)| Some((name, hook.as_ref()?)))
        });
        let before = self.findings.len();
        for (hook, one) in hooks {
            if let Handler::Sleep { seconds } = one.handler
                && let Some(cause) = manifest::sleep_beyond(
                    u64::from(seconds),
                    grace,
                    &format!("{path}.lifecycle.{hook}"),
                )
            {
                let at = self.at(&format!("{path}.lifecycle.{hook}.sleep"));
                self.findings
                    .push(refused(&at, &subject(container), cause.to_string()));
            }
        }
        self.findings.len() > before
    }
}
