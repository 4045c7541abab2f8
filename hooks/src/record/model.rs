//! The record's fields.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Action, Timestamp};
use crate::lifecycle::{Handler, HandlerKind, Pod};
use crate::named::{OpenEnum, named};
use crate::sequence::{HookKind, Phase};

/// The version this package writes. Fields may be added within it.
pub const VERSION: u32 = 1;

/// One container.
///
/// The shim writes it, the command reads it, and their versions may differ. Whatever another version has more is
/// passed over, whatever it has not is empty, and a phase, hook, handler, result or action that this version does
/// not know is read by its name. A field of another type makes it no record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// See [`VERSION`].
    pub version: u32,
    pub id: String,
    pub namespace: String,
    /// Its pod, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// Where it is in its life.
    pub phase: OpenEnum<Phase>,
    /// Its hooks so far, in the order they began.
    pub hooks: Vec<HookRecord>,
    /// Its end, once that was asked for or has come.
    #[serde(skip_serializing_if = "Option::is_none")]
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
            phase: Phase::Created.into(),
            hooks: Vec::new(),
            termination: None,
        }
    }
}

named! {
    pub enum HookResult {
        /// As it should.
        Succeeded = "Succeeded",
        /// By itself, without success.
        Failed = "Failed",
        /// Killed at a limit.
        TimedOut = "TimedOut",
        /// Killed for another reason.
        Aborted = "Aborted",
        /// It did not run.
        Skipped = "Skipped",
    }
}

/// One run of a hook; `result` is absent while it runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HookRecord {
    pub hook: OpenEnum<HookKind>,
    /// What kind of handler it has.
    pub handler: OpenEnum<HandlerKind>,
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<OpenEnum<HookResult>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Wall time, from a monotonic clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// Of an exec handler that exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The name of the signal that ended an exec handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Of an httpGet handler that got an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// User CPU time of all its processes, µs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_user_usec: Option<u64>,
    /// System CPU time of all its processes, µs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_system_usec: Option<u64>,
    /// Peak memory, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// The end of its output, see [`super::tail`].
    #[serde(skip_serializing_if = "Option::is_none")]
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
    pub fn new(hook: HookKind, handler: HandlerKind) -> HookRecord {
        HookRecord {
            hook: hook.into(),
            handler: handler.into(),
            ..HookRecord::default()
        }
    }
}

/// The end of the container; a container that exits by itself has only the last two fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TerminationRecord {
    /// When the stop was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<Timestamp>,
    /// The name of the stop signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// G.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<u64>,
    /// When the stop signal went out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signalled_at: Option<Timestamp>,
    /// When SIGKILL went out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exited_at: Option<Timestamp>,
    /// As containerd reports it: the exit code, or 128 + the signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<u32>,
}

impl TerminationRecord {
    /// Notes the end, as containerd is told of it.
    pub fn exited(&mut self, at: SystemTime, status: u32) {
        self.exited_at = Some(at.into());
        self.exit_status = Some(status);
    }
}
