//! What happened to a container, in order, from all who saw it.

use std::fmt;

use k8s_openapi::jiff;
use podhook::clock;
use podhook_integration::events::Event;
use podhook_integration::record::{HookRecord, Record, Timestamp};

/// A container's timeline.
#[derive(Debug)]
pub struct Timeline {
    name: String,
    entries: Vec<(jiff::Timestamp, String)>,
}

impl Timeline {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            entries: Vec::new(),
        }
    }

    pub fn add(&mut self, at: jiff::Timestamp, what: &str) {
        self.entries.push((at, what.to_owned()));
    }

    /// Adds containerd's events.
    pub fn events(&mut self, events: &[Event]) {
        for event in events {
            let status = if event.topic == "/tasks/exit" {
                format!(" with status {}", event.exit_status())
            } else {
                String::new()
            };
            self.add(event.published, &format!("event {}{status}", event.topic));
        }
    }

    /// Adds an entry of the record.
    fn recorded(&mut self, at: Timestamp, what: &str) {
        self.add(clock::timestamp(at.into()), what);
    }

    /// Adds what the shim recorded of the hooks and the end.
    pub fn record(&mut self, record: &Record) {
        for hook in &record.hooks {
            let name = format!("{} hook ({})", hook.hook, hook.handler);
            if let Some(at) = hook.started_at {
                self.recorded(at, &format!("{name} starts"));
            }
            if let Some(at) = hook.finished_at {
                self.recorded(at, &format!("{name} {}", result(hook)));
            }
        }
        let Some(end) = &record.termination else {
            return;
        };
        let signal = end.signal.as_deref().unwrap_or("the stop signal");
        let grace = end
            .grace_period_seconds
            .map(|s| format!(", grace period {s} s"))
            .unwrap_or_default();
        let moments = [
            (
                end.requested_at,
                format!("{signal} arrives at the shim{grace}"),
            ),
            (
                end.signalled_at,
                "the process is sent its signal".to_owned(),
            ),
            (end.killed_at, "the process is sent SIGKILL".to_owned()),
            (
                end.exited_at,
                format!(
                    "the process has exited, status {}",
                    end.exit_status.map_or(-1, i64::from)
                ),
            ),
        ];
        for (at, what) in moments {
            if let Some(at) = at {
                self.recorded(at, &what);
            }
        }
    }
}

/// A hook's result with its exit status, wall time, CPU time and memory.
fn result(hook: &HookRecord) -> String {
    let mut text = hook.result().unwrap_or_default().to_owned();
    if let Some(status) = hook.exit_code {
        text += &format!(", exit status {status}");
    }
    if let Some(signal) = &hook.signal {
        text += &format!(", {signal}");
    }
    if let Some(ms) = hook.duration_ms {
        text += &format!(", {ms:.1} ms");
    }
    if let (Some(user), Some(system)) = (hook.cpu_user_usec, hook.cpu_system_usec) {
        text += &format!(", {} µs CPU", user + system);
    }
    if let Some(bytes) = hook.memory_peak_bytes {
        text += &format!(", {} KiB at most", bytes / 1024);
    }
    text
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(at, _)| *at);
        writeln!(f, "{}", self.name)?;
        let Some((first, _)) = entries.first() else {
            return Ok(());
        };
        for (at, what) in &entries {
            let ms = at.duration_since(*first).as_secs_f64() * 1000.0;
            writeln!(f, "{ms:10.1}  {what}")?;
        }
        writeln!(f)
    }
}
