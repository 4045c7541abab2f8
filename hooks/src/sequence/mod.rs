//! One container's life as a pure state machine: postStart, the blocked Start, preStop, the stop
//! signal and the grace period. It reads no clock and does nothing itself: events and the time go in,
//! actions come out.

mod advice;
mod event;
mod machine;
mod results;
mod settings;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod timers;

pub use advice::{Advice, INIT_EXITED};
pub use event::{Abort, Action, Cause, Event, HookKind, Limit, Phase, Skip, Termination};
pub use results::Sequence;
pub use settings::{Defaults, HookTiming, Settings, Timing};

/// Monotonic time since an arbitrary origin.
pub type Time = std::time::Duration;
