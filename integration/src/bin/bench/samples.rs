//! Measured values, and what is told of them.

use std::time::Duration;

use crate::cpu::Used;

/// The times of one thing, and the CPU time all of them took.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Wall time of each, in the order they were taken.
    pub wall: Vec<Duration>,
    /// CPU time of everything on the node meanwhile; none where nobody looked.
    pub cpu: Option<Used>,
}

impl Samples {
    /// One more.
    pub fn push(&mut self, wall: Duration) {
        self.wall.push(wall);
    }

    /// CPU time that some of them took.
    pub fn spent(&mut self, used: Used) {
        self.cpu = Some(self.cpu.unwrap_or_default() + used);
    }

    /// In milliseconds.
    #[must_use]
    pub fn millis(&self) -> Vec<f64> {
        self.wall.iter().map(|wall| ms(*wall)).collect()
    }
}

/// The value that `share` of them do not exceed (nearest rank); not a number where there is none.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Milliseconds.
#[must_use]
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let of = |share| quantile(&values, share);
        assert_eq!(
            (of(0.0), of(0.5), of(0.95), of(0.99), of(1.0)),
            (1.0, 50.0, 95.0, 99.0, 100.0)
        );
        assert_eq!(quantile(&[7.0], 0.5), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
