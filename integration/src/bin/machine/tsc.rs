//! The frequency of the processor's counter, which the emulated processor has, too.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::_rdtsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

/// Long enough for one in ten thousand.
const INTERVAL: Duration = Duration::from_millis(200);
/// Of how many tries to read clock and counter at the same time the best is taken.
const TRIES: u32 = 100;

/// In kHz.
pub fn khz() -> Result<u64, Error> {
    let (start, first) = both();
    thread::sleep(INTERVAL);
    let (end, second) = both();
    let micros = u64::try_from((end - start).as_micros())?;
    Ok(second.wrapping_sub(first) * 1000 / micros)
}

/// A time and the counter at that time: of some tries the one that was least disturbed.
fn both() -> (Instant, u64) {
    let mut best = (Duration::MAX, Instant::now(), 0);
    for _ in 0..TRIES {
        let before = Instant::now();
        let count = counter();
        let took = before.elapsed();
        if took < best.0 {
            best = (took, before, count);
        }
    }
    (best.1, best.2)
}

#[cfg(target_arch = "x86_64")]
fn counter() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { _rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> u64 {
    0
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    #[test]
    fn two_measurements_agree() {
        let (one, two) = (super::khz().unwrap(), super::khz().unwrap());
        assert!(
            one > 100_000 && one.abs_diff(two) < one / 100,
            "{one} {two}"
        );
    }
}
