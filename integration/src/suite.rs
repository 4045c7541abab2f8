//! Runs behaviour tests over containerd generations, shims and OCI runtimes, as
//! `1.6.20/podhook/ctr::run_rm_gives_the_exit_status`.
//!
//! `PODHOOK_MATRIX` says on what, as `1.6/runc 2.3/podhook+runc-1.1 2/podhook-v1+crun`, or `all`.
//! The other arguments are libtest's: a filter, `--list`, `--test-threads`, `--skip`, `--exact`.

use std::collections::HashMap;
use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::Outcome;
use crate::again::again;
use crate::containerd::{Containerd, Error};
use crate::generation::{Generation, OciRuntime};
use crate::node::Node;
use crate::panics;
use crate::place::Place;
use crate::results::{Outcomes, Results};
use crate::shim::ShimKind;
use crate::slow::{self, watched};

/// The original shim as the yardstick, and each configuration of podhook, on the oldest containerd, the long-term
/// release and the newest.
const DEFAULT_MATRIX: &str = "1.6/runc 1.6/podhook 1.6/podhook-v1 2.3/runc 2.3/podhook 2.3/podhook-v1 \
                              2.4/runc 2.4/podhook 2.4/podhook-v1 2.4/podhook-pauseless";

/// A run whose failures are printed when they happen, too.
pub const AT_ONCE: &str = "PODHOOK_FAILURES_AT_ONCE";
/// The beginning of each of their lines.
pub const MARK: &str = "| ";

/// Tests that mostly wait; more than the cores of a small machine.
const THREADS: usize = 6;

/// One behaviour.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// Its name: module and function.
    pub name: &'static str,
    pub run: fn(&Node) -> Outcome,
    /// It stops or kills containerd, so it gets one of its own.
    pub own_containerd: bool,
    /// It is about what only podhook does.
    pub podhook_only: bool,
    /// It takes long and runs on every generation and with every configuration of podhook, but not
    /// on every combination of the two.
    pub each_once: bool,
    /// Why it cannot run at a place, if so.
    pub unless: fn(Place) -> Option<&'static str>,
}

/// Tests for every shim on a shared containerd: `tests![ctr: first, second]`.
#[macro_export]
macro_rules! tests {
    ($module:ident: $($name:ident),* $(,)?) => {
        vec![$($crate::suite::Test {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: $name,
            own_containerd: false,
            podhook_only: false,
            each_once: false,
            unless: |_| None,
        }),*]
    };
}

/// The same tests, each with a containerd of its own.
#[must_use]
pub fn own_containerd(tests: Vec<Test>) -> Vec<Test> {
    tests
        .into_iter()
        .map(|test| Test {
            own_containerd: true,
            ..test
        })
        .collect()
}

/// The same tests, with podhook only.
#[must_use]
pub fn podhook_only(tests: Vec<Test>) -> Vec<Test> {
    tests
        .into_iter()
        .map(|test| Test {
            podhook_only: true,
            ..test
        })
        .collect()
}

/// The same tests, on every generation and with every configuration of podhook, but not on every
/// combination: for what takes long.
#[must_use]
pub fn each_once(tests: Vec<Test>) -> Vec<Test> {
    tests
        .into_iter()
        .map(|test| Test {
            each_once: true,
            ..test
        })
        .collect()
}

/// The same tests, but not where `reason` gives one: there they are listed as ignored, with the reason.
#[must_use]
pub fn unless(tests: Vec<Test>, reason: fn(Place) -> Option<&'static str>) -> Vec<Test> {
    tests
        .into_iter()
        .map(|test| Test {
            unless: reason,
            ..test
        })
        .collect()
}

/// Modules whose clients make no pods.
const NO_PODS: [&str; 8] = [
    "checkpoint::",
    "ctr::",
    "docker::",
    "docker_calls::",
    "endurance::",
    "exec::",
    "io::",
    "nerdctl::",
];

/// Why a test says nothing of pods without a pause container.
fn without_pod(place: Place, test: &str) -> Option<&'static str> {
    let no_pod = NO_PODS.iter().any(|module| test.starts_with(module));
    (place.shim == ShimKind::Pauseless && no_pod).then_some("it makes no pod: as with podhook-v1")
}

/// The body of a suite's `main`: runs `tests` on the matrix and checks that nothing is left behind.
#[must_use]
pub fn run(tests: Vec<Test>) -> ExitCode {
    run_with_threads(tests, THREADS)
}

/// The same with another number of tests at a time, for a suite that waits more, or less.
#[must_use]
pub fn run_with_threads(tests: Vec<Test>, threads: usize) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(threads);
    let text = env::var("PODHOOK_MATRIX").unwrap_or_else(|_| DEFAULT_MATRIX.to_owned());
    let places = match parse_matrix(&text) {
        Ok(places) => places,
        Err(word) => {
            return refuse(&format!(
                "PODHOOK_MATRIX: {word:?}: want GENERATION/SHIM[+OCI] as 1.6/runc, 2.4/podhook, 2/podhook-v1+crun, 2.3/podhook+runc-1.1, or all"
            ));
        }
    };
    let mut versions = HashMap::new();
    for place in &places {
        match check(*place) {
            Ok(version) => versions.insert(place.generation, version),
            Err(message) => return refuse(&message),
        };
    }
    let shared = Arc::new(Shared::default());
    let outcomes = Arc::new(Outcomes::default());
    let mut trials = Vec::new();
    let chosen = each_generation_once(&places);
    for place in places {
        let once = chosen.contains(&place);
        for test in tests.iter().filter(|test| {
            let wanted = once || !test.each_once || !place.shim.is_podhook();
            wanted && (place.shim.is_podhook() || !test.podhook_only)
        }) {
            let (test, shared, outcomes) = (*test, Arc::clone(&shared), Arc::clone(&outcomes));
            let version = &versions[&place.generation];
            let name = format!("{version}/{}/{}", place.programs(), test.name);
            if let Some(reason) = without_pod(place, test.name).or_else(|| (test.unless)(place)) {
                outcomes.skipped(place, test.name, reason);
                let trial = Trial::test(name, move || one(test, place, &shared));
                trials.push(trial.with_kind(reason).with_ignored_flag(true));
            } else {
                let label = name.clone();
                trials.push(Trial::test(name, move || {
                    let outcome = watched(&label, || again(&label, || one(test, place, &shared)));
                    outcomes.done(place, test.name, &outcome);
                    outcome
                }));
            }
        }
    }
    panics::keep();
    let conclusion = libtest_mimic::run(&arguments, trials);
    slow::tell_longest();
    let clean = shared.close();
    let written = Results::wanted(&arguments).map_or(Ok(()), |results| results.write(&outcomes));
    if let Err(error) = &written {
        eprintln!("{error}");
    }
    if conclusion.has_failed() || !clean || written.is_err() {
        ExitCode::from(101)
    } else {
        ExitCode::SUCCESS
    }
}

/// Whether everything a place is made of is there; gives containerd's version.
fn check(place: Place) -> Result<String, String> {
    let version = place.generation.version();
    let runtime = place.generation.oci_version(place.runtime);
    place.shim.runtime().map_err(|error| error.to_string())?;
    runtime.map_err(|error| error.to_string())?;
    version.map_err(|error| error.to_string())
}

/// One configuration of podhook for every generation, another for the next.
fn each_generation_once(places: &[Place]) -> Vec<Place> {
    let mut generations: Vec<_> = places.iter().map(|place| place.generation).collect();
    generations.sort();
    generations.dedup();
    let choose = |(n, generation): (usize, Generation)| {
        let of: Vec<_> = places
            .iter()
            .filter(|place| place.generation == generation && place.shim.is_podhook())
            .collect();
        Some(**of.get(n % of.len().max(1))?)
    };
    generations
        .into_iter()
        .enumerate()
        .filter_map(choose)
        .collect()
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(2)
}

fn parse_matrix(text: &str) -> Result<Vec<Place>, &str> {
    if text.trim() == "all" {
        return Ok(Place::all());
    }
    text.split([' ', ','])
        .filter(|word| !word.is_empty())
        .map(|word| Place::named(word).ok_or(word))
        .collect()
}

fn one(test: Test, place: Place, shared: &Shared) -> Result<(), Failed> {
    let containerd = if test.own_containerd {
        Containerd::start_at(place).map(Arc::new)
    } else {
        shared.get(place)
    };
    let containerd = containerd.map_err(|error| error.to_string())?;
    let node = Node::new(Arc::clone(&containerd), place.shim);
    let mut outcome = panics::caught(|| (test.run)(&node));
    // After a failure the remains say nothing new.
    if outcome.is_ok() {
        outcome = node.finish().map_err(|error| error.to_string());
    }
    if outcome.is_ok() && test.own_containerd {
        outcome = containerd.close().map_err(|error| error.to_string());
    }
    outcome.map_err(|message| {
        let message = format!("{message}\n{}", node.log());
        if env::var_os(AT_ONCE).is_some() {
            at_once(
                &format!("{}/{}", node.containerd().version(), test.name),
                &message,
            );
        }
        message.into()
    })
}

/// Prints a failure now, in one piece and marked, and not only after the last test.
pub(crate) fn at_once(name: &str, message: &str) {
    let text: String = [&format!("{name} failed")]
        .into_iter()
        .map(String::as_str)
        .chain(message.lines())
        .map(|line| format!("{MARK}{line}\n"))
        .collect();
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The generation, the OCI runtime, and whether podhook stands in for the original.
type Key = (Generation, OciRuntime, bool);

/// The containerds that tests share, one per generation and set of programs, started at the first use.
#[derive(Default)]
struct Shared {
    running: Mutex<HashMap<Key, Arc<Containerd>>>,
}

impl Shared {
    fn get(&self, place: Place) -> Result<Arc<Containerd>, Error> {
        let key = (place.generation, place.runtime, place.stands_in());
        // Held while containerd starts: the others wait for it instead of starting a second.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(containerd) = running.get(&key) {
            return Ok(Arc::clone(containerd));
        }
        let containerd = Arc::new(Containerd::start_at(place)?);
        running.insert(key, Arc::clone(&containerd));
        Ok(containerd)
    }

    /// Stops them all; false when one left something behind.
    fn close(&self) -> bool {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut clean = true;
        for (_, containerd) in running.drain() {
            if let Err(error) = containerd.close() {
                eprintln!("containerd of {}: {error}", containerd.place());
                clean = false;
            }
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(words: &str) -> Vec<Place> {
        parse_matrix(words).expect("a matrix")
    }

    #[test]
    fn the_default_matrix_is_understood() {
        let default = places(DEFAULT_MATRIX);
        assert_eq!(default[0].to_string(), "1.6/runc");
        assert_eq!(places("all").len(), 46);
    }

    #[test]
    fn what_takes_long_meets_every_generation_and_every_configuration() {
        let chosen = each_generation_once(&places(
            "1.6/runc 1.6/podhook 1.6/podhook-v1 2/podhook 2/podhook-v1",
        ));
        assert_eq!(chosen, places("1.6/podhook 2/podhook-v1"));
        let chosen = each_generation_once(&places("2/podhook 1.7/runc"));
        assert_eq!(chosen, places("2/podhook"));
    }

    #[test]
    fn an_unknown_word_in_the_matrix_is_named() {
        assert_eq!(parse_matrix("1.6/runc 1.5/runc"), Err("1.5/runc"));
        assert_eq!(parse_matrix("podhook"), Err("podhook"));
    }
}
