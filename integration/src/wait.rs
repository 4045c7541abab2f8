//! Waiting for something to become true, with a limit and a name for it.

use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, thread};

/// The limit for what should take no noticeable time; generous, because the machine may be busy, and whoever
/// waits for something that happens does not wait longer for it.
pub const SOON: Duration = Duration::from_secs(60);

/// The time between two looks, at least.
const INTERVAL: Duration = Duration::from_millis(10);

/// `limit` on this machine: times `PODHOOK_TIME_SCALE` (default 1), for one that is slow by nature, as an
/// emulated one is.
#[must_use]
pub fn scaled(limit: Duration) -> Duration {
    static SCALE: OnceLock<u32> = OnceLock::new();
    let scale = SCALE.get_or_init(|| {
        let text = env::var("PODHOOK_TIME_SCALE").ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(1)
    });
    limit * *scale
}

/// The condition did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("{what}: not within {limit:?}")]
pub struct TimedOut {
    what: String,
    limit: Duration,
}

/// Polls until `condition` gives a value.
///
/// # Errors
/// [`TimedOut`] when there is none after `limit`, [`scaled`].
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T, TimedOut> {
    let (start, limit) = (Instant::now(), scaled(limit));
    loop {
        let begun = Instant::now();
        if let Some(value) = condition() {
            return Ok(value);
        }
        let took = begun.elapsed();
        if start.elapsed() > limit {
            return Err(TimedOut {
                what: what.to_owned(),
                limit,
            });
        }
        // What takes long to look at is looked at less often: the processor is for what is waited for.
        thread::sleep(INTERVAL.max(took * 3));
    }
}

/// Polls until the nginx there listens, and gives the connection. Only then it has handlers for its stop signals, too,
/// without which they do not end the first process of a pid namespace.
///
/// # Errors
/// [`TimedOut`] when it does not after a time that a busy machine needs.
pub fn until_listening(ip: &str, port: u16) -> Result<TcpStream, TimedOut> {
    until("nginx to listen", SOON * 6, || {
        TcpStream::connect((ip, port)).ok()
    })
}

/// Polls until `condition` is true.
///
/// # Errors
/// [`TimedOut`] when it is still false after `limit`.
pub fn until_true(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<(), TimedOut> {
    until(what, limit, || condition().then_some(()))
}
