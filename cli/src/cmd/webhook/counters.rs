//! What the webhook counts, and its page for Prometheus.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::output::exposition::Page;

/// The API server waits for 10 s by default, and for 30 s at most.
const BOUNDS: [f64; 8] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1.0, 10.0];

#[derive(Debug, Default)]
struct Numbers {
    /// By path and result.
    requests: BTreeMap<(&'static str, &'static str), u64>,
    durations: BTreeMap<&'static str, Durations>,
    reloads: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
struct Durations {
    /// Not cumulative; the last is of what took longer than every bound.
    buckets: [u64; BOUNDS.len() + 1],
    sum: f64,
}

#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Numbers>);

impl Counters {
    pub(super) fn request(&self, path: &'static str, result: &'static str, took: Duration) {
        let mut numbers = self.numbers();
        add(numbers.requests.entry((path, result)).or_default());
        let durations = numbers.durations.entry(path).or_default();
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        if let Some(count) = durations.buckets.get_mut(bucket.unwrap_or(BOUNDS.len())) {
            add(count);
        }
        durations.sum += seconds;
    }

    pub(super) fn reload(&self, result: &'static str) {
        add(self.numbers().reloads.entry(result).or_default());
    }

    /// The page, with the end of the certificate that is shown.
    pub(super) fn page(&self, expires: Option<Timestamp>) -> String {
        let numbers = self.numbers();
        let mut page = Page::default();
        let name = "podhook_webhook_requests_total";
        page.family(name, "counter", "Admission reviews by what came of them.");
        for ((path, result), count) in &numbers.requests {
            page.sample(name, &[("path", path), ("result", result)], count);
        }
        let name = "podhook_webhook_request_duration_seconds";
        page.family(name, "histogram", "How long the answers took.");
        for (path, durations) in &numbers.durations {
            let mut count = 0_u64;
            for (i, in_bucket) in durations.buckets.iter().enumerate() {
                count = count.saturating_add(*in_bucket);
                let bound = BOUNDS
                    .get(i)
                    .map_or_else(|| "+Inf".to_owned(), f64::to_string);
                let labels = [("path", *path), ("le", &*bound)];
                page.sample(&format!("{name}_bucket"), &labels, count);
            }
            page.sample(&format!("{name}_sum"), &[("path", path)], durations.sum);
            page.sample(&format!("{name}_count"), &[("path", path)], count);
        }
        let name = "podhook_webhook_certificate_reads_total";
        page.family(name, "counter", "Certificates read from their files.");
        for (result, count) in &numbers.reloads {
            page.sample(name, &[("result", result)], count);
        }
        if let Some(expires) = expires {
            let name = "podhook_webhook_certificate_expiry_timestamp_seconds";
            page.family(name, "gauge", "When the certificate that is shown ends.");
            page.sample(name, &[], expires.as_second());
        }
        page.into_text()
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(count: &mut u64) {
    *count = count.saturating_add(1);
}
