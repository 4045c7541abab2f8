//! The pod that lives as long as the run: a probe each second by CRI, and execs without end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use podhook_integration::execs::Execs;
use podhook_integration::node::{Pod, PodContainer};
use serde_json::{Value, json};

use crate::Error;

/// As many execs as fit ten thousand into half an hour.
const PER_EXEC: Duration = Duration::from_millis(175);
/// Execs at a time at most: one alone falls behind where the node has much else to do.
pub const EXECS: usize = 4;

/// What the pod has done.
#[derive(Debug, Default)]
pub struct Counts {
    pub probes: AtomicU64,
    pub execs: AtomicU64,
}

/// The lifecycle of its container, and the script that it runs.
pub fn container<'a>(pod: &'a Pod<'_>, podhook: bool) -> Result<PodContainer<'a>, Error> {
    let hook = |name: &str| json!({"exec": {"command": ["sh", "-c", format!("echo {name} >> /tmp/hooks")]}});
    let lifecycle = json!({"postStart": hook("post"), "preStop": hook("pre")});
    let script = "trap 'cat /tmp/hooks; exit 9' TERM; while :; do sleep 600 & wait $!; done";
    let mut builder = pod.container("main").command(&["sh", "-c", script]);
    if podhook {
        builder = builder.annotation("podhook.dev/lifecycle", &lifecycle.to_string());
    }
    builder.start()
}

/// Probes each second, until told to end; gives what was wrong.
pub fn probe(container: &PodContainer<'_>, counts: &Counts, over: &AtomicBool) -> Vec<String> {
    let mut wrong = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let number = counts.probes.fetch_add(1, Ordering::Relaxed);
        let text = format!("probe {number}");
        let answer = container.exec(&["sh", "-c", &format!("echo {text}")]);
        match answer {
            Ok(output) if output.trim_end() == text => {}
            Ok(output) => wrong.push(format!("{text}: output {output:?}")),
            Err(error) => wrong.push(format!("{text}: {error}")),
        }
        thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
    }
    wrong
}

/// Execs one after the other, at the rate of all of them or as fast as they are, until told to end.
pub async fn execs(
    execs: &Execs,
    process: &Value,
    counts: &Counts,
    begun: Instant,
    over: &AtomicBool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let number = counts.execs.fetch_add(1, Ordering::Relaxed);
        let due = PER_EXEC * u32::try_from(number).unwrap_or(u32::MAX);
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
        let wanted = u32::try_from(number % 200).unwrap_or(0);
        let mut process = process.clone();
        process["args"] = json!(["sh", "-c", format!("exit {wanted}")]);
        let process = process.to_string().into_bytes();
        match execs.run(&format!("pod-{number}"), &process).await {
            Ok(status) if status == wanted => {}
            Ok(status) => wrong.push(format!("exec {number}: status {status}, not {wanted}")),
            Err(error) => wrong.push(format!("exec {number}: {error}")),
        }
    }
    wrong
}
