//! Things measured side by side: a few of each per round, so that a busy moment of the machine hits all.

use std::thread;
use std::time::{Duration, Instant};

use podhook_integration::progress::Progress;

use crate::Fallible;
use crate::row::Label;
use crate::samples::Samples;
use crate::sheet::Sheet;
use crate::stage::Stage;

/// What is left to do after the last answer (events, reaping) is counted too.
pub const SETTLE: Duration = Duration::from_millis(50);

/// Does something so many times; gives the time of each.
pub type Batch<'a> = Box<dyn FnMut(usize) -> Fallible<Vec<Duration>> + 'a>;

/// One thing to measure.
pub struct Method<'a> {
    pub label: Label,
    /// How often per round.
    pub batch: usize,
    pub run: Batch<'a>,
    pub samples: Samples,
}

impl<'a> Method<'a> {
    /// A method without samples yet.
    pub fn new(
        label: Label,
        batch: usize,
        run: impl FnMut(usize) -> Fallible<Vec<Duration>> + 'a,
    ) -> Self {
        Self {
            label,
            batch,
            run: Box::new(run),
            samples: Samples::default(),
        }
    }

    /// One that does one thing at a time.
    pub fn each(
        label: Label,
        batch: usize,
        mut one: impl FnMut() -> Fallible<Duration> + 'a,
    ) -> Self {
        Self::new(label, batch, move |count| {
            (0..count).map(|_| one()).collect()
        })
    }

    /// Does it so many times, and keeps what that took where it `counts`.
    fn measure(&mut self, stage: &Stage, count: usize, counts: bool) -> Fallible<()> {
        let before = stage.used()?;
        let Label { what, shim, .. } = &self.label;
        let times = (self.run)(count).map_err(|error| format!("{what}, {shim}: {error}"))?;
        thread::sleep(SETTLE);
        let used = stage.used()? - before;
        if counts {
            self.samples.wall.extend(times);
            self.samples.spent(used);
        }
        Ok(())
    }
}

/// Runs `rounds` rounds over all of them, after one to warm up, which is not to be counted. Each round begins with another one.
///
/// # Errors
/// The first failure.
pub fn rotate<T>(
    what: &'static str,
    rounds: usize,
    all: &mut [T],
    mut one: impl FnMut(&mut T, bool) -> Fallible<()>,
) -> Fallible<()> {
    let mut progress = Progress::new(what, rounds);
    for round in 0..=rounds {
        for offset in 0..all.len() {
            let at = (round + offset) % all.len();
            if let Some(each) = all.get_mut(at) {
                one(each, round > 0)?;
            }
        }
        progress.done(round);
    }
    Ok(())
}

/// The methods in a tight loop, a batch of each in turn.
///
/// # Errors
/// The first failure of a method.
pub fn interleave(stage: &Stage, methods: &mut [Method<'_>], rounds: usize) -> Fallible<()> {
    rotate("round", rounds, methods, |method, counts| {
        method.measure(stage, method.batch, counts)
    })
}

/// Each method once in every `period`, at moments as far from each other as that allows: nothing that another has just done
/// for the kernel helps it.
///
/// # Errors
/// The first failure of a method.
pub fn alone(
    stage: &Stage,
    methods: &mut [Method<'_>],
    rounds: usize,
    period: Duration,
) -> Fallible<()> {
    let slot = period / u32::try_from(methods.len())?.max(1);
    let mut due = Instant::now();
    rotate("second", rounds, methods, |method, counts| {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due = due.max(Instant::now()) + slot;
        method.measure(stage, 1, counts)
    })
}

/// The rows of them.
pub fn report(sheet: &mut Sheet, methods: &[Method<'_>]) {
    for method in methods {
        sheet.times(&method.label, &method.samples);
    }
}

/// What it gives, and how long it took.
///
/// # Errors
/// Its own.
pub fn timed<T, E>(what: impl FnOnce() -> Result<T, E>) -> Result<(T, Duration), E> {
    let begun = Instant::now();
    let done = what()?;
    Ok((done, begun.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_begins_with_another_and_the_first_one_does_not_count() {
        let mut seen = Vec::new();
        let mut all = ['a', 'b', 'c'];
        let noted = rotate("round", 2, &mut all, |each, counts| {
            seen.push((*each, counts));
            Ok(())
        });
        assert!(noted.is_ok());
        let order: String = seen.iter().map(|(each, _)| *each).collect();
        assert_eq!(order, "abcbcacab");
        assert_eq!(seen.iter().filter(|(_, counts)| *counts).count(), 6);
    }
}
