//! The handlers of a hook: each runs one and tells how it went.
//!
//! [`run`] takes what to do, the container as a [`Target`] and a future that aborts it, and returns a
//! [`HookRun`]; it knows nothing of phases or RPCs. Deadlines are the caller's, through the abort, which is dropped once
//! the work is done and only the result is still put together.

pub mod exec;
mod lines;
pub mod net;
#[allow(unsafe_code)]
mod ordered;
mod output;
#[allow(unsafe_code)]
mod pipes;
mod rest;
mod run;
mod sink;
pub mod sleep;

use std::time::{Duration, SystemTime};

use crate::moment::Moment;

pub use rest::Rest;
pub use run::{Place, Target, run};
pub use sink::{LineQueue, Sink, line_queue};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Succeeded,
    /// For this reason; short, without the output.
    Failed(String),
    /// Because the caller said so.
    Aborted,
}

/// What is known of a hook that has ended.
#[derive(Debug, Clone)]
pub struct HookRun {
    pub outcome: Outcome,
    /// Its exit code, where it ran a process that exited.
    pub exit_code: Option<i32>,
    /// The signal that ended its process.
    pub signal: Option<i32>,
    /// The status of the HTTP response, where there was one.
    pub http_status: Option<u16>,
    /// The last 4 KiB of its output, stdout and stderr in the order they were written.
    pub output: Vec<u8>,
    /// Bytes of its output that were dropped because the sink had no reader.
    pub dropped: u64,
    /// Why the OCI runtime ran it and not the engine; what had left its session was not killed at an
    /// abort then.
    pub by_fallback: Option<String>,
    /// Why the engine had only its session under control; what had left that was not killed at an abort then.
    pub session_only: Option<String>,
    /// User CPU time of its process and of the children that one waited for.
    pub cpu_user: Duration,
    /// System CPU time of the same.
    pub cpu_system: Duration,
    /// Peak resident memory of the largest of these processes, bytes.
    pub memory_peak: Option<u64>,
    /// When it was started.
    pub began: Moment,
    /// How long it took, on a clock that nobody sets.
    pub took: Duration,
}

impl HookRun {
    /// The result of a hook that could not be run at all.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Failed(reason.into()), Moment::now())
    }

    /// Whether the hook ended as it should.
    pub fn succeeded(&self) -> bool {
        self.outcome == Outcome::Succeeded
    }

    pub fn started_at(&self) -> SystemTime {
        self.began.wall()
    }

    /// Never before it was started, whatever has become of the wall clock meanwhile.
    pub fn finished_at(&self) -> SystemTime {
        self.began.wall_after(self.took)
    }

    /// The result of a hook without a process, ended now.
    pub fn new(outcome: Outcome, began: Moment) -> Self {
        Self {
            outcome,
            exit_code: None,
            signal: None,
            http_status: None,
            output: Vec::new(),
            dropped: 0,
            by_fallback: None,
            session_only: None,
            cpu_user: Duration::ZERO,
            cpu_system: Duration::ZERO,
            memory_peak: None,
            began,
            took: began.elapsed(),
        }
    }
}
