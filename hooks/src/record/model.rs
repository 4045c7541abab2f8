//! The record's fields.

use serde::{Deserialize, Serialize};

use super::{Action, Timestamp};
use crate::lifecycle::{Handler, Pod};
use crate::sequence::{HookKind, Phase};

/// The version this package writes. Fields may be added within it.
pub const VERSION: u32 = 1;

/// One container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// See [`VERSION`].
    pub version: u32,
    /// The container's ID.
    pub id: String,
    /// The containerd namespace.
    pub namespace: String,
    /// Its pod, if it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Its hooks so far, in the order they began.
    #[serde(default)]
    pub hooks: Vec<HookRecord>,
    /// Its end, once that was asked for or has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination: Option<TerminationRecord>,
}

impl Record {
    /// The record of a container that has just been created.
    pub fn new(id: impl Into<String>, namespace: impl Into<String>, pod: Option<Pod>) -> Record {
        Record {
            version: VERSION,
            id: id.into(),
            namespace: namespace.into(),
            pod,
            phase: Phase::Created,
            hooks: Vec::new(),
            termination: None,
        }
    }
}

/// How a hook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookResult {
    /// As it should.
    Succeeded,
    /// By itself, without success.
    Failed,
    /// Killed at a limit.
    TimedOut,
    /// Killed for another reason.
    Aborted,
    /// It did not run.
    Skipped,
}

/// One run of a hook; `result` is absent while it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookRecord {
    /// Which hook.
    pub hook: HookKind,
    /// The name of its [`HandlerKind`](crate::lifecycle::HandlerKind).
    pub handler: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<HookResult>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Wall time, from a monotonic clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// Of an exec handler that exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The name of the signal that ended an exec handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Of an httpGet handler that got an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// User CPU time of all its processes, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_user_usec: Option<u64>,
    /// System CPU time of all its processes, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_system_usec: Option<u64>,
    /// Peak memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// The end of its output, see [`super::tail`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

impl HookRecord {
    /// A run of that handler's.
    pub fn of(hook: HookKind, handler: &Handler) -> HookRecord {
        HookRecord {
            action: Some(handler.into()),
            ..HookRecord::new(hook, handler.kind())
        }
    }

    /// A hook of that handler of which nothing more is known.
    pub fn new(hook: HookKind, handler: impl Into<String>) -> HookRecord {
        HookRecord {
            hook,
            handler: handler.into(),
            action: None,
            result: None,
            started_at: None,
            finished_at: None,
            duration_ms: None,
            exit_code: None,
            signal: None,
            http_status: None,
            message: None,
            cpu_user_usec: None,
            cpu_system_usec: None,
            memory_peak_bytes: None,
            output: None,
        }
    }
}

/// The end of the container; a container that exits by itself has only the last two fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TerminationRecord {
    /// When the stop was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Timestamp>,
    /// The name of the stop signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// G.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<u64>,
    /// When the stop signal went out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signalled_at: Option<Timestamp>,
    /// When SIGKILL went out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed_at: Option<Timestamp>,
    /// When init exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exited_at: Option<Timestamp>,
    /// As containerd reports it: the exit code, or 128 + the signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<u32>,
}
