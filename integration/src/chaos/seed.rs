//! Numbers that look random and come again with the same seed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A stream of numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Seed(u64);

impl Seed {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One that no other run is likely to have.
    #[must_use]
    pub fn fresh() -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanoseconds = now.map_or(1, |now| now.subsec_nanos().into());
        Self(nanoseconds ^ u64::from(std::process::id()) << 32).below(100_000_000)
    }

    /// The stream of one round: the same whatever other rounds there are.
    #[must_use]
    pub fn of(seed: u64, name: &str) -> Self {
        let mut mixed = Self(seed);
        for byte in name.bytes() {
            mixed.0 = mixed.next() ^ u64::from(byte);
        }
        mixed
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Shorter than `limit`, in steps of a tenth of a millisecond.
    pub fn delay(&mut self, limit: Duration) -> Duration {
        let steps = u64::try_from(limit.as_micros() / 100).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(steps) * 100)
    }

    /// Another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1);
            items.swap(last, usize::try_from(other).unwrap_or(last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_and_names_and_seeds_differ() {
        let numbers = |seed, name| {
            let mut seed = Seed::of(seed, name);
            [(); 4].map(|()| seed.below(1000))
        };
        assert_eq!(numbers(7, "exec/shim"), numbers(7, "exec/shim"));
        assert_ne!(numbers(7, "exec/shim"), numbers(8, "exec/shim"));
        assert_ne!(numbers(7, "exec/shim"), numbers(7, "exec/init"));
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let mut items: Vec<u32> = (0..50).collect();
        Seed::new(1).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
