//! What the agent counts, by pod and container, and of itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use podhook_hooks::journal::Entry;
use podhook_hooks::record::HookResult;

use super::notice::millis;
use crate::output::exposition::Page;

/// So many containers are on the page.
const MOST: usize = 1000;
/// For so long after the last news of them.
const AGE: Duration = Duration::from_secs(60 * 60);

/// What became of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    Posted,
    /// Its count.
    Updated,
    /// Its pod has too many.
    Suppressed,
    /// The API server would not keep it any more.
    TooOld,
    Refused,
}

impl Told {
    const ALL: [Self; 5] = [
        Self::Posted,
        Self::Updated,
        Self::Suppressed,
        Self::TooOld,
        Self::Refused,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Posted => "posted",
            Self::Updated => "updated",
            Self::Suppressed => "suppressed",
            Self::TooOld => "too_old",
            Self::Refused => "refused",
        }
    }
}

/// Namespace, pod, container.
type Key = [String; 3];

#[derive(Debug)]
struct Container {
    last: Instant,
    /// By hook and result.
    hooks: BTreeMap<[String; 2], Ended>,
}

#[derive(Debug, Default)]
struct Ended {
    count: u64,
    seconds: f64,
    /// Seconds since the epoch.
    last: f64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    containers: BTreeMap<Key, Container>,
    dropped: u64,
    told: BTreeMap<Told, u64>,
    failed_attempts: u64,
    unreadable: u64,
}

impl Counts {
    /// Counts a line of the journal.
    pub(super) fn line(&mut self, entry: &Entry) {
        let Some((hook, result)) = entry
            .hook
            .as_ref()
            .and_then(|hook| Some((hook, hook.result.as_ref()?)))
        else {
            return;
        };
        let record = entry.record();
        let pod = record.pod_name().unwrap_or_default();
        let key = [record.namespace(), pod, record.container()].map(str::to_owned);
        self.make_room(&key);
        let container = self.containers.entry(key).or_insert_with(|| Container {
            last: Instant::now(),
            hooks: BTreeMap::new(),
        });
        container.last = Instant::now();
        let which = [hook.hook.as_str(), result.as_str()].map(str::to_owned);
        let ended = container.hooks.entry(which).or_default();
        ended.count = ended.count.saturating_add(1);
        ended.seconds += hook.duration_ms.unwrap_or_default() / 1000.0;
        if let Some(time) = entry.time.or(hook.finished_at) {
            ended.last = millis(time.into()) as f64 / 1000.0;
        }
    }

    fn make_room(&mut self, key: &Key) {
        if self.containers.len() < MOST || self.containers.contains_key(key) {
            return;
        }
        let oldest = self.containers.iter().min_by_key(|(_, one)| one.last);
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            self.containers.remove(&oldest);
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    pub(super) fn unreadable(&mut self) {
        self.unreadable = self.unreadable.saturating_add(1);
    }

    pub(super) fn told(&mut self, told: Told) {
        let count = self.told.entry(told).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn attempt_failed(&mut self) {
        self.failed_attempts = self.failed_attempts.saturating_add(1);
    }

    /// The page, with how many Events wait.
    pub(super) fn page(&mut self, waiting: usize) -> String {
        self.containers.retain(|_, one| one.last.elapsed() <= AGE);
        let mut page = Page::default();
        self.hooks(&mut page);
        let name = "podhook_agent_events_total";
        page.family(name, "counter", "Events for pods, by what became of them.");
        for told in Told::ALL {
            let count = self.told.get(&told).copied().unwrap_or_default();
            page.sample(name, &[("result", told.name())], count);
        }
        for (name, kind, help, value) in [
            (
                "podhook_agent_event_failures_total",
                "counter",
                "Times the API server could not be told.",
                self.failed_attempts,
            ),
            (
                "podhook_agent_events_waiting",
                "gauge",
                "Events that the API server has yet to be told.",
                waiting as u64,
            ),
            (
                "podhook_agent_journal_unreadable_total",
                "counter",
                "Lines and files of the journal that cannot be read.",
                self.unreadable,
            ),
            (
                "podhook_agent_containers_dropped_total",
                "counter",
                "Containers that were taken off this page because there are too many.",
                self.dropped,
            ),
        ] {
            page.family(name, kind, help);
            page.sample(name, &[], value);
        }
        page.into_text()
    }

    fn hooks(&self, page: &mut Page) {
        let name = "podhook_container_hooks_total";
        page.family(name, "counter", "Hooks of a container that have ended.");
        self.each(|labels, ended| page.sample(name, labels, ended.count));
        let name = "podhook_container_hook_seconds_total";
        page.family(name, "counter", "How long they took.");
        self.each(|labels, ended| page.sample(name, labels, ended.seconds));
        let name = "podhook_container_hook_failure_timestamp_seconds";
        let help = "When a hook of a container has last not succeeded, since the epoch.";
        page.family(name, "gauge", help);
        self.each(|labels, ended| {
            let succeeded = ("result", HookResult::Succeeded.name());
            if !labels.contains(&succeeded) {
                page.sample(name, labels, ended.last);
            }
        });
    }

    fn each(&self, mut sample: impl FnMut(&[(&str, &str)], &Ended)) {
        for ([namespace, pod, name], container) in &self.containers {
            for ([hook, result], ended) in &container.hooks {
                let labels = [
                    ("namespace", &**namespace),
                    ("pod", &**pod),
                    ("container", &**name),
                    ("hook", &**hook),
                    ("result", &**result),
                ];
                sample(&labels, ended);
            }
        }
    }
}
