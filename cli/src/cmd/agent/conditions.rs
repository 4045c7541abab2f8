//! `--pod-condition`: `podhook.dev/HooksSucceeded` of pods. False as long as the last run of one of a pod's hooks has not succeeded.

use std::collections::BTreeMap;

use podhook_hooks::journal::Entry;
use podhook_hooks::record::HookResult;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::correlate::bound;
use super::notice::{self, timestamp};

const TYPE: &str = "podhook.dev/HooksSucceeded";
/// The reason where all have.
const SUCCEEDED: &str = "HooksSucceeded";
/// A pod of which nothing is heard for a day is forgotten, ms: its next hook begins anew.
const AGE: u64 = 24 * 60 * 60 * 1000;

/// What pods have been told; it outlives the agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Conditions {
    /// By uid.
    pods: BTreeMap<String, Pod>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Pod {
    /// Reason and message, by container and hook.
    failed: BTreeMap<String, (String, String)>,
    told: Option<Told>,
    last: u64,
}

/// Reason and message; and since when it is so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Told {
    what: (String, String),
    since: u64,
}

impl Conditions {
    /// The patch of a pod's status that a line of the journal leads to, with the pod's name and namespace; none where nothing is new.
    pub(super) fn take(&mut self, entry: &Entry, with_output: bool, now: u64) -> Option<Value> {
        let hook = entry.hook.as_ref()?;
        let pod = notice::pod(entry)?;
        let uid = pod.uid.filter(|uid| !uid.is_empty())?;
        let failed = notice::of(entry, with_output);
        let succeeded = hook.result.as_ref()?.known() == Some(HookResult::Succeeded);
        if failed.is_none() && !succeeded {
            // It has ended with its container.
            return None;
        }
        bound(&mut self.pods, now, AGE, |pod| pod.last);
        let this = self.pods.entry(uid.clone()).or_default();
        this.last = now;
        let key = format!("{} {}", pod.container, hook.hook);
        match failed {
            Some(notice) => drop(
                this.failed
                    .insert(key, (notice.reason.to_owned(), notice.what)),
            ),
            None => drop(this.failed.remove(&key)),
        }
        let all = || (SUCCEEDED.to_owned(), String::new());
        let what = this.failed.values().next().cloned().unwrap_or_else(all);
        let before = this.told.take();
        if before.as_ref().is_some_and(|before| before.what == what) {
            this.told = before;
            return None;
        }
        let is = |reason: &str| if reason == SUCCEEDED { "True" } else { "False" };
        let since = before.filter(|before| is(&before.what.0) == is(&what.0));
        let since = since.map_or(now, |before| before.since);
        let condition = json!({
            "type": TYPE, "status": is(&what.0), "reason": what.0, "message": what.1,
            "lastTransitionTime": timestamp(since),
        });
        this.told = Some(Told { what, since });
        Some(json!({
            "kind": "Pod",
            "metadata": {"namespace": pod.namespace, "name": pod.name, "uid": uid},
            "status": {"conditions": [condition]},
        }))
    }
}
