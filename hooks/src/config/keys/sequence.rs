//! Times and signals of the state machine: `sequence::Defaults`.

use std::time::Duration;

use crate::config::key::{Key, keys};
use crate::lifecycle::reader::At;
use crate::lifecycle::{DEFAULT_GRACE_PERIOD, FieldError, read_signal};
use crate::sequence::Defaults;
use crate::signal::Signal;

keys! {
    /// Times and signals of the state machine, where neither the lifecycle nor the pod has them.
    SequenceKeys {
        post_start_timeout: Duration = PostStartTimeout,
        grace_period: Duration = GracePeriod,
        stop_signals: Vec<Signal> = StopSignals,
    }
}

impl From<&SequenceKeys> for Defaults {
    fn from(keys: &SequenceKeys) -> Self {
        let numbers = keys.stop_signals.iter().map(|signal| signal.number());
        Self {
            grace_period: keys.grace_period,
            post_start_timeout: keys.post_start_timeout,
            stop_signals: numbers.collect(),
        }
    }
}

/// The longest time a key can set: a day.
const MAX_SECONDS: u32 = 24 * 60 * 60;

fn seconds(at: &At, min: u32) -> Result<Duration, FieldError> {
    Ok(Duration::from_secs(at.integer(min, MAX_SECONDS)?.into()))
}

/// The limit of a postStart without one.
struct PostStartTimeout;

impl Key for PostStartTimeout {
    type Value = Duration;

    const NAME: &'static str = "post_start_timeout";
    const MEANING: &'static str = "seconds, for a postStart without `timeoutSeconds`";
    const DEFAULT: &'static str = "`110`";

    fn default() -> Duration {
        // 2 min is the kubelet's default for a CRI request (runtimeRequestTimeout): the user is to
        // see "postStart timed out" and not the request's deadline.
        Duration::from_secs(110)
    }

    fn read(at: At) -> Result<Duration, FieldError> {
        seconds(&at, 1)
    }
}

/// How long a container has to end.
struct GracePeriod;

impl Key for GracePeriod {
    type Value = Duration;

    const NAME: &'static str = "grace_period";
    const MEANING: &'static str = "seconds, where neither the lifecycle nor the pod has one";
    const DEFAULT: &'static str = "`30`";

    fn default() -> Duration {
        DEFAULT_GRACE_PERIOD
    }

    fn read(at: At) -> Result<Duration, FieldError> {
        seconds(&at, 0)
    }
}

/// What begins the termination too, outside of CRI.
struct StopSignals;

impl Key for StopSignals {
    type Value = Vec<Signal>;

    const NAME: &'static str = "stop_signals";
    const MEANING: &'static str = "names of signals that start the termination outside of CRI, besides SIGTERM, SIGINT, \
        SIGQUIT, SIGRTMIN+3, `stopSignal` and [the container's own](hooks.md#what-is-a-stop-signal)";
    const DEFAULT: &'static str = "`[]`";

    fn read(at: At) -> Result<Vec<Signal>, FieldError> {
        let read = |at: At| {
            let signal = read_signal(&at)?;
            match signal.number() {
                libc::SIGKILL => Err(at.error("SIGKILL is always delivered at once")),
                _ => Ok(signal),
            }
        };
        at.array()?.into_iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{given, refused};

    #[test]
    fn a_post_start_has_some_time_by_default_and_never_none() {
        let limit = |text| given(text).sequence.post_start_timeout;
        assert_eq!(limit(""), Duration::from_secs(110));
        assert_eq!(limit("post_start_timeout = 60"), Duration::from_secs(60));
        let range = "line 1: post_start_timeout: must be between 1 and 86400, inclusive";
        refused("post_start_timeout = 0", range);
        refused("post_start_timeout = 86401", range);
        refused(
            "post_start_timeout = 1.5",
            "line 1: post_start_timeout: must be an integer",
        );
    }

    #[test]
    fn a_grace_period_may_be_zero() {
        let grace = |text| given(text).sequence.grace_period;
        assert_eq!(grace(""), Duration::from_secs(30));
        assert_eq!(grace("grace_period = 0"), Duration::ZERO);
        for value in ["1979-05-27", "99999999999999999999"] {
            refused(
                &format!("grace_period = {value}"),
                "line 1: grace_period: must be an integer",
            );
        }
    }

    #[test]
    fn stop_signals_have_names_and_sigkill_is_none() {
        let keys = given("stop_signals = ['SIGHUP', 'RTMIN+4']").sequence;
        assert_eq!(Defaults::from(&keys).stop_signals, [1, 38]);
        refused(
            "stop_signals = [\n'SIGHUP',\n'SIGHUB']",
            "line 3: stop_signals[1]: \"SIGHUB\" is not a signal name, did you mean \"SIGHUP\"?",
        );
        refused(
            "stop_signals = ['SIGKILL']",
            "line 1: stop_signals[0]: SIGKILL is always delivered at once",
        );
    }
}
