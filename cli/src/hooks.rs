//! What the shim has recorded of a container's hooks: `<bundle>/podhook.json`.
//!
//! The file is the shim's; it goes with the bundle when the container has ended and containerd
//! has cleaned up.

use std::path::Path;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

/// The record of a container.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Record {
    /// Where the container stands: `PostStart`, `Running`, `PreStop`, …
    pub phase: String,
    /// Every hook run so far, in their order.
    pub hooks: Vec<Hook>,
    /// Set from the first stop signal on.
    pub termination: Option<Termination>,
}

/// One run of a hook.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Hook {
    /// `postStart` or `preStop`.
    pub hook: String,
    /// `exec`, `httpGet`, `tcpSocket`, `sleep`.
    pub handler: String,
    /// `Succeeded`, `Failed`, …; unset while it runs.
    pub result: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How long it took.
    pub duration_ms: Option<f64>,
    /// Of an exec handler.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<String>,
    /// Of an httpGet handler.
    pub http_status: Option<u16>,
    /// What went wrong.
    pub message: Option<String>,
    /// Microseconds of CPU time in user mode.
    pub cpu_user_usec: Option<u64>,
    /// Microseconds of CPU time in the kernel.
    pub cpu_system_usec: Option<u64>,
    /// Its peak memory.
    pub memory_peak_bytes: Option<u64>,
    /// The end of what it printed.
    pub output: Option<String>,
}

/// How a container was stopped.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Termination {
    /// When the first stop signal came.
    pub requested_at: Option<Timestamp>,
    /// Which one.
    pub signal: Option<String>,
    /// The grace period.
    pub grace_period_seconds: Option<i64>,
    /// When the container got its signal.
    pub signalled_at: Option<Timestamp>,
    /// When it was killed.
    pub killed_at: Option<Timestamp>,
    /// When it had ended.
    pub exited_at: Option<Timestamp>,
    /// Its exit status.
    pub exit_status: Option<i32>,
}

/// The record of a CRI container; `None` when there is none (no lifecycle, not podhook's shim, or
/// the bundle is gone).
#[must_use]
pub fn record(state: &Path, container_id: &str) -> Option<Record> {
    let bundle = state
        .join("io.containerd.runtime.v2.task/k8s.io")
        .join(container_id);
    let bytes = std::fs::read(bundle.join("podhook.json")).ok()?;
    serde_json::from_slice(&bytes).ok()
}
