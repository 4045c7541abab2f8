//! A record on a page: what describe and inspect say of a hook and of the end of a container.

use podhook_hooks::record::{HookRecord, Record, TerminationRecord, Timestamp};

use crate::clock;
use crate::output::duration::short;
use crate::output::page::Page;

/// Everything recorded of a container in that namespace of containerd, with some lines more.
pub(crate) fn container(namespace: &str, record: &Record, more: &[(&str, String)]) -> String {
    let mut page = Page::default();
    page.line(0, "Container ID:", &record.id);
    page.line(0, "Containerd Namespace:", namespace);
    if let Some(pod) = &record.pod {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        page.line(0, "Pod:", text(&pod.name));
        page.line(0, "Namespace:", text(&pod.namespace));
        if let Some(uid) = &pod.uid {
            page.line(0, "Pod UID:", uid);
        }
        page.line(0, "Container:", text(&pod.container));
    }
    page.line(0, "Phase:", record.phase.as_str());
    for (label, value) in more {
        page.line(0, *label, value);
    }
    let none = match record.hooks.is_empty() {
        true => "<none yet>",
        false => "",
    };
    page.line(0, "Hooks:", none);
    for one in &record.hooks {
        page.line(1, format!("{}:", one.hook), one.what());
        hook(&mut page, 2, one);
    }
    if let Some(end) = &record.termination {
        termination(&mut page, 0, end);
    }
    page.into_text()
}

/// What became of a hook.
pub(crate) fn hook(page: &mut Page, depth: usize, hook: &HookRecord) {
    page.line(depth, "Result:", result(hook));
    time(page, depth, "Started:", hook.started_at);
    time(page, depth, "Finished:", hook.finished_at);
    if let Some(milliseconds) = hook.duration_ms {
        page.line(depth, "Duration:", short(milliseconds / 1000.0));
    }
    if let (Some(user), Some(system)) = (hook.cpu_user_usec, hook.cpu_system_usec) {
        page.line(
            depth,
            "CPU Time:",
            format!(
                "{} user, {} system",
                microseconds(user),
                microseconds(system)
            ),
        );
    }
    if let Some(bytes) = hook.memory_peak_bytes {
        page.line(depth, "Peak Memory:", format!("{}Ki", bytes.div_ceil(1024)));
    }
    let output = hook.output.as_deref().unwrap_or_default().trim_end();
    if !output.is_empty() {
        page.list(depth, "Output:", output.lines().map(str::to_owned));
    }
}

/// As the tables have it.
fn microseconds(count: u64) -> String {
    short(count as f64 / 1e6)
}

/// `Failed (exited with status 3)`.
fn result(hook: &HookRecord) -> String {
    let Some(result) = hook.result() else {
        return "running".to_owned();
    };
    let detail = match (&hook.message, hook.exit_code, hook.http_status) {
        (Some(message), _, _) => format!(" ({message})"),
        (None, Some(code), _) => format!(" (exit code {code})"),
        (None, None, Some(status)) => format!(" (HTTP status {status})"),
        (None, None, None) => String::new(),
    };
    format!("{result}{detail}")
}

/// How the container was stopped.
pub(crate) fn termination(page: &mut Page, depth: usize, termination: &TerminationRecord) {
    page.line(
        depth,
        "Termination:",
        termination.signal.clone().unwrap_or_default(),
    );
    if let Some(seconds) = termination.grace_period_seconds {
        page.line(
            depth.saturating_add(1),
            "Grace Period:",
            format!("{seconds}s"),
        );
    }
    time(
        page,
        depth.saturating_add(1),
        "Requested:",
        termination.requested_at,
    );
    time(
        page,
        depth.saturating_add(1),
        "Signalled:",
        termination.signalled_at,
    );
    time(
        page,
        depth.saturating_add(1),
        "Killed:",
        termination.killed_at,
    );
    time(
        page,
        depth.saturating_add(1),
        "Exited:",
        termination.exited_at,
    );
    if let Some(status) = termination.exit_status {
        page.line(depth.saturating_add(1), "Exit Status:", status.to_string());
    }
}

/// To the millisecond: hooks are short.
fn time(page: &mut Page, depth: usize, label: &str, time: Option<Timestamp>) {
    if let Some(time) = time {
        page.line(
            depth,
            label,
            clock::timestamp(time.into())
                .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
                .to_string(),
        );
    }
}
