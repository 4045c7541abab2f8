//! Deadlines: a limit may come from outside and be as long as a number can tell.

use std::time::{Duration, Instant};

/// What stands for "never": longer than any node lives.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The end of a limit that begins at `from`. One that no clock can tell is far away.
#[must_use]
pub fn after(from: Instant, limit: Duration) -> Instant {
    let at = from.checked_add(limit).or_else(|| from.checked_add(FAR));
    at.unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_ends_where_it_says() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::ZERO), now);
        let second = Duration::from_secs(1);
        assert_eq!(after(now, second).duration_since(now), second);
    }

    #[test]
    fn the_longest_limit_is_far_away_and_no_panic() {
        let now = Instant::now();
        assert!(after(now, Duration::MAX).duration_since(now) >= FAR);
    }
}
