//! Why a hook was ended or did not run, in words: which limit it was, and where that is changed.

use std::time::Duration;

use super::event::{Abort, Limit, Skip};
use crate::signal;

/// What a record says of a hook whose container has ended before it, by itself or because of it (`nginx -s quit`).
pub const INIT_EXITED: &str = "aborted: the container's process ended";

/// What the words depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Whether a CRI client owns the container.
    pub cri: bool,
    /// The node's configuration file.
    pub config: String,
}

impl Advice {
    /// Why a hook was ended: `timed out after 30s (timeoutSeconds)`.
    pub fn abort(&self, abort: Abort) -> String {
        match abort {
            Abort::TimedOut { limit, after } => self.timed_out(limit, after),
            Abort::Signal(number) => format!("aborted by {}", signal::name(number)),
            Abort::InitExited => INIT_EXITED.to_owned(),
            Abort::Killed => "aborted by SIGKILL".to_owned(),
        }
    }

    pub fn skip(&self, skip: Skip) -> String {
        match skip {
            Skip::NoTime => format!("no time left before {}", self.request_deadline()),
            Skip::NotAStop(_) => format!(
                "{skip}: set stopSignal of the lifecycle, or stop_signals of {}",
                self.config
            ),
            other => other.to_string(),
        }
    }

    fn timed_out(&self, limit: Limit, after: Duration) -> String {
        let seconds = after.as_millis() as f64 / 1000.0;
        let why = match limit {
            Limit::Timeout => "timeoutSeconds".to_owned(),
            Limit::NodeTimeout => format!(
                "post_start_timeout of {}: set timeoutSeconds on the hook",
                self.config
            ),
            Limit::RpcDeadline => format!("2s before {}", self.request_deadline()),
            Limit::GracePeriod => {
                "grace period less the time for the stop signal: terminationGracePeriodSeconds"
                    .to_owned()
            }
        };
        format!("timed out after {seconds}s ({why})")
    }

    fn request_deadline(&self) -> &'static str {
        match self.cri {
            true => "the CRI client's deadline: the kubelet's runtimeRequestTimeout",
            false => "the client's deadline for the start request",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_what_changes_it() {
        let words = |cri, limit, millis| {
            let config = "/etc/podhook/config.toml".to_owned();
            Advice { cri, config }.abort(Abort::TimedOut {
                limit,
                after: Duration::from_millis(millis),
            })
        };
        assert_eq!(
            words(true, Limit::Timeout, 30_000),
            "timed out after 30s (timeoutSeconds)"
        );
        assert_eq!(
            words(true, Limit::NodeTimeout, 110_000),
            "timed out after 110s (post_start_timeout of /etc/podhook/config.toml: set timeoutSeconds on the hook)"
        );
        assert_eq!(
            words(true, Limit::RpcDeadline, 118_000),
            "timed out after 118s (2s before the CRI client's deadline: the kubelet's runtimeRequestTimeout)"
        );
        assert_eq!(
            words(false, Limit::RpcDeadline, 8_000),
            "timed out after 8s (2s before the client's deadline for the start request)"
        );
        assert_eq!(
            words(true, Limit::GracePeriod, 1_500),
            "timed out after 1.5s (grace period less the time for the stop signal: terminationGracePeriodSeconds)"
        );
    }

    #[test]
    fn what_is_no_limit_needs_no_advice() {
        let advice = Advice {
            cri: true,
            config: "x".to_owned(),
        };
        assert_eq!(advice.abort(Abort::Signal(15)), "aborted by SIGTERM");
        assert_eq!(advice.abort(Abort::Killed), "aborted by SIGKILL");
        assert_eq!(advice.skip(Skip::Paused), "the container is paused");
        assert_eq!(
            advice.skip(Skip::NotAStop(libc::SIGWINCH)),
            "the container ended after SIGWINCH, which is none of its stop signals: \
             set stopSignal of the lifecycle, or stop_signals of x"
        );
        assert_eq!(
            advice.skip(Skip::NoTime),
            "no time left before the CRI client's deadline: the kubelet's runtimeRequestTimeout"
        );
    }
}
