//! A moment on two clocks. What is measured is measured on the monotonic one, which nobody can set; the wall clock is
//! for people, and may jump by hours between two moments.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A moment that has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    at: Instant,
    wall: SystemTime,
}

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        // In this order: a thread that gets no processor between the two tells a time that is too early. One that is
        // too late could be after what followed it.
        let wall = SystemTime::now();
        Self::new(Instant::now(), wall)
    }

    /// The one that was at this time on each of the clocks.
    #[must_use]
    pub fn new(at: Instant, wall: SystemTime) -> Self {
        Self { at, wall }
    }

    /// The one before it when the monotonic clock was there, if nobody has set the wall clock since.
    #[must_use]
    pub fn back_to(self, at: Instant) -> Self {
        let since = self.at.saturating_duration_since(at);
        let wall = self.wall.checked_sub(since).unwrap_or(self.wall);
        Self::new(self.at.min(at), wall)
    }

    /// What the wall clock said.
    #[must_use]
    pub fn wall(self) -> SystemTime {
        self.wall
    }

    /// The time from this one to a later one; none to an earlier one.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        later.at.saturating_duration_since(self.at)
    }

    /// The time since.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.at.elapsed()
    }

    /// What the wall clock would say so much later if nobody had set it meanwhile: never before this moment.
    #[must_use]
    pub fn wall_after(self, time: Duration) -> SystemTime {
        self.wall.checked_add(time).unwrap_or(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS: Duration = Duration::from_secs(5 * 3600);

    #[test]
    fn a_wall_clock_that_was_set_changes_no_duration() {
        let first = Moment::now();
        let second = Duration::from_secs(1);
        for wall in [first.wall + HOURS, first.wall - HOURS] {
            let later = Moment::new(first.at + second, wall);
            assert_eq!(first.until(later), second);
            assert_eq!(later.until(first), Duration::ZERO);
            assert_eq!(first.wall_after(first.until(later)), first.wall + second);
            assert_eq!(later.wall(), wall);
        }
    }

    #[test]
    fn a_moment_before_another_was_earlier_on_both_clocks() {
        let now = Moment::now();
        let second = Duration::from_secs(1);
        let before = Moment::new(now.at - second, now.wall - second);
        assert_eq!(now.back_to(before.at), before);
        assert_eq!(before.back_to(now.at), before);
    }

    #[test]
    fn a_time_that_no_clock_can_tell_is_no_panic() {
        let now = Moment::now();
        assert_eq!(now.wall_after(Duration::MAX), now.wall);
    }
}
