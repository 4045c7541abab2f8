//! A second try of a test that has failed, where a run asks for it: CI's machine is shared, and one late answer in two
//! thousand tests would say that a change is wrong. What passes then is named, with what failed at first: it is a fault to be
//! mended, of the test or of what it tests.

use std::env;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use libtest_mimic::Failed;

use crate::suite::at_once;

/// The beginning of the line that names such a test.
pub const FLAKY: &str = "flaky: ";
/// How many tests of a program may be run again; 0 where it is not set. More of them fail for a reason.
pub const AGAIN: &str = "PODHOOK_AGAIN";

static LEFT: LazyLock<AtomicUsize> = LazyLock::new(|| {
    let asked = env::var(AGAIN).ok().and_then(|text| text.parse().ok());
    AtomicUsize::new(asked.unwrap_or(0))
});

/// Runs a test, and once more if it has failed and one more may be.
///
/// # Errors
/// Those of the test.
pub fn again(name: &str, test: impl Fn() -> Result<(), Failed>) -> Result<(), Failed> {
    once_more(name, test, |outcome| {
        let failed = outcome.as_ref().err()?;
        Some(failed.message().unwrap_or_default().to_owned())
    })
}

/// The same for what has an outcome of its own: `wrong` says what is wrong with one.
pub fn once_more<T>(name: &str, run: impl FnMut() -> T, wrong: impl Fn(&T) -> Option<String>) -> T {
    tried(name, &LEFT, run, wrong)
}

fn tried<T>(
    name: &str,
    left: &AtomicUsize,
    mut run: impl FnMut() -> T,
    wrong: impl Fn(&T) -> Option<String>,
) -> T {
    let first = run();
    let Some(message) = wrong(&first) else {
        return first;
    };
    let one_less = |left: usize| left.checked_sub(1);
    if left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
        .is_err()
    {
        return first;
    }
    let second = run();
    if wrong(&second).is_none() {
        eprintln!("{FLAKY}{name}: {}", message.lines().next().unwrap_or("?"));
        at_once(name, &message);
    }
    second
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test that fails so many times; how often it ran, and what came of it.
    fn ran(failures: usize, left: &AtomicUsize) -> (usize, bool) {
        let runs = AtomicUsize::new(0);
        let run = || match runs.fetch_add(1, Ordering::Relaxed) < failures {
            true => Err("late".to_owned()),
            false => Ok(()),
        };
        let outcome = tried("a", left, run, |outcome| outcome.clone().err());
        (runs.into_inner(), outcome.is_ok())
    }

    #[test]
    fn a_failed_test_has_one_more_try_while_there_are_some() {
        let left = AtomicUsize::new(2);
        assert_eq!(ran(0, &left), (1, true));
        assert_eq!(ran(1, &left), (2, true));
        assert_eq!(ran(2, &left), (2, false));
        assert_eq!(ran(1, &left), (1, false));
        assert_eq!(ran(1, &AtomicUsize::new(0)), (1, false));
    }
}
