//! What the machine has to know of one container.

use std::time::Duration;

use crate::lifecycle::{Annotations, Hook, Lifecycle, OnFailure, grace_period, is_cri};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// None: a container without lifecycle, every signal is delivered untouched.
    pub lifecycle: Option<Timing>,
    /// Whether a CRI client owns the container.
    pub cri: bool,
}

/// The times and signals of a lifecycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// The postStart hook, if there is one.
    pub post_start: Option<HookTiming>,
    /// The preStop hook, if there is one.
    pub pre_stop: Option<HookTiming>,
    /// Replaces the signal that Kill asks for.
    pub stop_signal: Option<i32>,
    /// The signal that a client outside of CRI stops this container with, where that is known.
    pub own_stop_signal: Option<i32>,
    /// G.
    pub grace: Duration,
    /// Whether the lifecycle itself sets the grace period: then the shim owns its end for CRI too.
    pub grace_is_ours: bool,
    /// The node's further stop signals, for containers outside of CRI.
    pub stop_signals: Vec<i32>,
    /// How long a postStart without `timeoutSeconds` may take.
    pub post_start_timeout: Duration,
}

/// What the node says where lifecycle and pod do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// G.
    pub grace_period: Duration,
    /// Of a postStart.
    pub post_start_timeout: Duration,
    /// Further stop signals, for containers outside of CRI.
    pub stop_signals: Vec<i32>,
}

/// The limits of one hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookTiming {
    /// `timeoutSeconds`.
    pub timeout: Option<Duration>,
    /// `onFailure: Ignore`.
    pub ignore_failure: bool,
}

impl From<&Hook> for HookTiming {
    fn from(hook: &Hook) -> HookTiming {
        HookTiming {
            timeout: hook.timeout,
            ignore_failure: hook.on_failure == OnFailure::Ignore,
        }
    }
}

impl Settings {
    /// The settings of the container that has these annotations and this (merged) lifecycle.
    pub fn new(
        lifecycle: Option<&Lifecycle>,
        annotations: &impl Annotations,
        node: impl Into<Defaults>,
    ) -> Settings {
        let node = node.into();
        let timing = lifecycle.map(|lifecycle| Timing {
            post_start: lifecycle.post_start.as_ref().map(HookTiming::from),
            pre_stop: lifecycle.pre_stop.as_ref().map(HookTiming::from),
            stop_signal: lifecycle.stop_signal.map(|signal| signal.number()),
            own_stop_signal: None,
            grace: grace_period(annotations, Some(lifecycle), node.grace_period),
            grace_is_ours: lifecycle.termination_grace_period.is_some(),
            stop_signals: node.stop_signals,
            post_start_timeout: node.post_start_timeout,
        });
        Settings {
            lifecycle: timing,
            cri: is_cri(annotations),
        }
    }

    /// The same for a container that its client stops with this signal: the image's STOPSIGNAL, say.
    #[must_use]
    pub fn with_own_stop_signal(mut self, signal: Option<i32>) -> Settings {
        if let Some(timing) = &mut self.lifecycle {
            timing.own_stop_signal = signal;
        }
        self
    }
}
