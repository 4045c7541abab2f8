//! What goes into the machine and what comes out.

use std::fmt;
use std::time::Duration;

use super::Time;
use crate::named::named;
use crate::signal;

named! {
    pub enum HookKind {
        /// After the start.
        PostStart = "postStart",
        /// Before the stop signal.
        PreStop = "preStop",
    }
}

named! {
    /// Where the container is in its life.
    pub enum Phase {
        /// Not started yet.
        Created = "Created",
        /// Its process runs, postStart too; clients still see it as created.
        PostStart = "PostStart",
        Running = "Running",
        /// A stop was asked for, preStop runs.
        PreStop = "PreStop",
        /// The stop signal is out.
        Signalled = "Signalled",
        /// SIGKILL is out.
        Killed = "Killed",
        /// Init has exited.
        Stopped = "Stopped",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The OCI runtime's `start` has succeeded; Start waits for its answer.
    Started {
        /// When the client gives up on Start.
        rpc_deadline: Option<Time>,
    },
    /// A hook has ended, by itself or after [`Action::AbortHook`].
    HookEnded {
        hook: HookKind,
        /// Whether its handler calls that a success.
        succeeded: bool,
        /// Whether the init process is on its way out at that moment: it has ended, or can do nothing else any more.
        init_ending: bool,
    },
    /// The Kill RPC, for the init process.
    KillRequested {
        /// The signal it asks for.
        signal: i32,
        /// Whether the container is paused: a hook could not run in it.
        paused: bool,
    },
    /// What the hook had to do is done, its process has ended: the result is being put together, and
    /// [`Event::HookEnded`] follows.
    HookOver(HookKind),
    /// The init process has ended, or can do nothing else any more: [`Event::InitExited`] follows, once what it has
    /// left is seen to.
    InitOver,
    /// The init process is gone.
    InitExited,
    /// The exit of the init process is published.
    ExitPublished,
    /// The time of [`super::Sequence::next_timer`] has come.
    Timer,
}

/// What the shim has to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start the hook; its end comes back as [`Event::HookEnded`].
    RunHook(HookKind),
    /// Kill the running hook with its whole tree; its end comes back as [`Event::HookEnded`] all the same. What has to
    /// be done next does not wait for that.
    AbortHook(HookKind, Abort),
    /// The hook is configured, but does not run; for the record.
    SkipHook(HookKind, Skip),
    /// Record how the hook has ended that the last [`Event::HookEnded`] of this kind told of, and why it was ended, if
    /// it was.
    RecordHook(HookKind, Option<Abort>),
    /// Record that the hook was ended for this reason and does not die. Where it ends after all,
    /// [`Action::RecordHook`] follows.
    GiveUpHook(HookKind, Abort),
    /// Pass on the signal of the Kill RPC at hand, as its own work: an error is that RPC's error.
    PassOn(i32),
    /// Send this signal to init: the stop signal, after preStop or a failed postStart. No RPC waits for it.
    SendStopSignal(i32),
    /// Send SIGKILL to init: the grace period is over. No RPC waits for it.
    Sigkill,
    /// Publish `/tasks/start` and answer Start.
    ReplyStarted,
    /// Answer Start with the error, which has the output of postStart as far as it is known.
    ReplyFailed(Cause),
}

/// Why a running hook was ended; in words by [`super::Advice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// It ran into a limit.
    TimedOut {
        limit: Limit,
        /// How long the hook was allowed to run.
        after: Duration,
    },
    /// A stop signal arrived during postStart.
    Signal(i32),
    /// The container's process ended first.
    InitExited,
    Killed,
}

/// The limit a hook ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The hook's `timeoutSeconds`.
    Timeout,
    /// The deadline of the Start request, less the time kept to stop the container and answer.
    RpcDeadline,
    /// The node's `post_start_timeout`.
    NodeTimeout,
    /// The grace period, less the time kept for the stop signal.
    GracePeriod,
}

/// Why a configured hook does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// The container is paused.
    Paused,
    /// The grace period is 0.
    ZeroGrace,
    /// The deadline of the Start request leaves no time.
    NoTime,
    /// The container has ended after this signal, which is none of its stop signals.
    NotAStop(i32),
}

impl Skip {
    /// Whether it was not skipped by choice.
    pub fn is_mishap(self) -> bool {
        matches!(self, Skip::NotAStop(_))
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Skip::Paused => f.write_str("the container is paused"),
            Skip::ZeroGrace => f.write_str("the grace period is 0"),
            Skip::NoTime => f.write_str("no time left before the deadline of the request"),
            Skip::NotAStop(number) => write!(
                f,
                "the container ended after {}, which is none of its stop signals",
                signal::name(*number)
            ),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The hook ended without success.
    HookFailed,
    /// The hook was ended.
    Aborted(Abort),
}

/// The end of a container, as far as it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Termination {
    /// When the stop was asked for, or postStart failed: t0.
    pub requested_at: Time,
    /// The signal that stops the container.
    pub signal: i32,
    /// The grace period G; 0 for a plain SIGKILL.
    pub grace: Duration,
    /// When the signal went out.
    pub signalled_at: Option<Time>,
    /// When SIGKILL went out, the client's or the sequence's.
    pub killed_at: Option<Time>,
}
