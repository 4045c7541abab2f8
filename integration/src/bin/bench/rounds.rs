//! Things measured side by side: a few of each per round, so that a busy moment of the machine hits all.

use std::thread;
use std::time::Duration;

use podhook_integration::progress::Progress;

use crate::Fallible;
use crate::cpu::{self, Account};
use crate::samples::Samples;

/// What is left to do after the last answer (events, reaping) is counted too.
const SETTLE: Duration = Duration::from_millis(50);

/// One thing to measure.
pub struct Method<'a> {
    pub name: &'static str,
    /// How often per round.
    pub batch: usize,
    /// Where its CPU time is found.
    pub accounts: Vec<Account>,
    /// Does it so many times; gives the time of each.
    pub run: Box<dyn FnMut(usize) -> Fallible<Vec<Duration>> + 'a>,
    pub samples: Samples,
}

impl<'a> Method<'a> {
    /// A method without samples yet.
    pub fn new(
        name: &'static str,
        batch: usize,
        accounts: &[Account],
        run: impl FnMut(usize) -> Fallible<Vec<Duration>> + 'a,
    ) -> Self {
        Self {
            name,
            batch,
            accounts: accounts.to_vec(),
            run: Box::new(run),
            samples: Samples::default(),
        }
    }

    /// One that does one thing at a time.
    pub fn each(
        name: &'static str,
        batch: usize,
        accounts: &[Account],
        mut one: impl FnMut() -> Fallible<Duration> + 'a,
    ) -> Self {
        Self::new(name, batch, accounts, move |count| {
            (0..count).map(|_| one()).collect()
        })
    }
}

/// Runs `rounds` rounds, after one to warm up that is not counted. Each round begins with another method.
///
/// # Errors
/// The first failure of a method.
pub fn interleave(methods: &mut [Method<'_>], rounds: usize) -> Fallible<()> {
    let mut progress = Progress::new("round", rounds);
    for round in 0..=rounds {
        let count = methods.len();
        for offset in 0..count {
            let Some(method) = methods.get_mut((round + offset) % count) else {
                continue;
            };
            let before = cpu::used(&method.accounts)?;
            let times =
                (method.run)(method.batch).map_err(|error| format!("{}: {error}", method.name))?;
            thread::sleep(SETTLE);
            let used = cpu::used(&method.accounts)?.saturating_sub(before);
            if round > 0 {
                method.samples.wall.extend(times);
                method.samples.cpu += used;
            }
        }
        progress.done(round);
    }
    Ok(())
}

/// The samples of the method called `name`; none where it was not measured.
#[must_use]
pub fn samples<'a>(methods: &'a [Method<'_>], name: &str) -> Option<&'a Samples> {
    methods
        .iter()
        .find(|method| method.name == name)
        .map(|method| &method.samples)
}
