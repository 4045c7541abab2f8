//! What the API server refuses of a pod beside the hooks themselves.

#![allow(
    clippy::indexing_slicing,
    reason = "read of a Value: what is not there is null"
)]

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Judge, Verdict, doubtful, finding, refused, subject};
use crate::manifest::convert::{self, Container};
use crate::manifest::{self, GRACE_PERIOD_SECONDS};

const PATCH: &str = "unless this is a patch of another manifest";

impl Judge<'_> {
    /// Whether the rest may be in another file: a patch of kustomize's names no image.
    pub(super) fn may_be_patch(&self) -> bool {
        let containers = convert::containers(self.pod);
        !self.is_pod() && containers.iter().all(|one| one.value["image"].is_null())
    }

    /// Names and images; of a Pod that is said with the rest.
    pub(super) fn of_template(&mut self) {
        let mut names = BTreeSet::new();
        let is_patch = self.may_be_patch();
        for container in convert::containers(self.pod) {
            let path = format!("{}{}", self.prefix, container.at);
            let field = format!("{path}.name");
            let wrong = match manifest::name_of_container(container.name, &field) {
                Some(cause) => Some(cause.to_string()),
                None => (!names.insert(container.name))
                    .then(|| format!("{field}: Duplicate value: {:?}", container.name)),
            };
            let wrong = wrong.map(|text| refused(&self.at(&field), "", text));
            self.findings.extend(wrong);
            let image = container.value["image"].as_str();
            if image.is_none_or(str::is_empty) && !is_patch {
                let text = format!("{path}.image: Required value, {PATCH}");
                let at = self.at(&path);
                self.findings.push(doubtful(&at, "", text));
            }
        }
    }

    /// Whether an init container ends before the others start: there is no hook then.
    pub(super) fn forbidden(&self, container: &Container<'_>) -> bool {
        self.rules.whole && container.is_plain_init && !container.value["lifecycle"].is_null()
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

    /// The pod's grace period, where the whole manifest is here and says one, or nothing.
    pub(super) fn grace(&self) -> Option<i64> {
        if !self.rules.whole || !self.workload.is_known {
            return None;
        }
        match &self.pod["spec"]["terminationGracePeriodSeconds"] {
            Value::Null => (!self.may_be_patch()).then_some(GRACE_PERIOD_SECONDS),
            said => said.as_i64(),
        }
    }
}
