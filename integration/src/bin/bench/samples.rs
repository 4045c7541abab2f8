//! Measured times.

use std::time::Duration;

/// The times of one thing, and the CPU time all of them took.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Wall time of each, in the order they were taken.
    pub wall: Vec<Duration>,
    /// User and system time of everything that was involved.
    pub cpu: Duration,
}

impl Samples {
    /// The time that `share` of them do not exceed (nearest rank); zero where there is none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.wall.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    /// The middle one.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    /// What one in a hundred exceeds.
    #[must_use]
    pub fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    /// CPU time of one.
    #[must_use]
    pub fn cpu_each(&self) -> Duration {
        let count = u32::try_from(self.wall.len()).unwrap_or(u32::MAX).max(1);
        self.cpu / count
    }
}

/// `a / b`; not a number where there is no `b`.
#[must_use]
pub fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}
