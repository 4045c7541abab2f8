//! Runs behaviour tests over containerd generations and shims, as `1.6.20/podhook/ctr::run_rm_gives_the_exit_status`.
//!
//! `PODHOOK_MATRIX` says on what, as `1.6/runc 1.7/podhook 2/podhook-v1`; the default is the
//! original shim on 1.6 as the yardstick, and both podhook configurations on 1.6 and 2.
//! The other arguments are libtest's: a filter, `--list`, `--test-threads`, `--skip`, `--exact`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::Outcome;
use crate::containerd::{Containerd, Error, stands_in};
use crate::generation::Generation;
use crate::node::Node;
use crate::shim::ShimKind;

const DEFAULT_MATRIX: &str = "1.6/runc 1.6/podhook 1.6/podhook-v1 2/podhook 2/podhook-v1";

/// Tests that mostly wait; more than the cores of a small machine.
const THREADS: usize = 4;

/// One behaviour.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// Its name: module and function.
    pub name: &'static str,
    /// The test.
    pub run: fn(&Node) -> Outcome,
    /// It stops or kills containerd, so it gets one of its own.
    pub own_containerd: bool,
    /// It is about what only podhook does.
    pub podhook_only: bool,
    /// It takes long and runs on every generation and with every configuration of podhook, but not
    /// on every combination of the two.
    pub each_once: bool,
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

/// A generation with a shim.
type Target = (Generation, ShimKind);

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
    let targets = match parse_matrix(&text) {
        Ok(targets) => targets,
        Err(word) => {
            return refuse(&format!(
                "PODHOOK_MATRIX: {word:?}: want GENERATION/SHIM as 1.6/runc, 1.7/podhook, 2/podhook-v1"
            ));
        }
    };
    let mut versions = HashMap::new();
    for (generation, _) in &targets {
        match generation.version() {
            Ok(version) => versions.insert(*generation, version),
            Err(error) => return refuse(&error.to_string()),
        };
    }
    if let Some(error) = targets.iter().find_map(|(_, shim)| shim.runtime().err()) {
        return refuse(&error.to_string());
    }
    let shared = Arc::new(Shared::default());
    let mut trials = Vec::new();
    let chosen = each_generation_once(&targets);
    for (generation, shim) in targets {
        let once = chosen.contains(&(generation, shim));
        for test in tests.iter().filter(|test| {
            let wanted = once || !test.each_once || !shim.is_podhook();
            wanted && (shim.is_podhook() || !test.podhook_only)
        }) {
            let (test, shared) = (*test, Arc::clone(&shared));
            let name = format!("{}/{shim}/{}", versions[&generation], test.name);
            trials.push(Trial::test(name, move || {
                one(test, (generation, shim), &shared)
            }));
        }
    }
    keep_panics();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let clean = shared.close();
    if conclusion.has_failed() || !clean {
        ExitCode::from(101)
    } else {
        ExitCode::SUCCESS
    }
}

/// One configuration of podhook for every generation, another for the next.
fn each_generation_once(targets: &[Target]) -> Vec<Target> {
    let mut generations: Vec<_> = targets.iter().map(|(generation, _)| *generation).collect();
    generations.sort();
    generations.dedup();
    let choose = |(n, generation): (usize, Generation)| {
        let shims: Vec<_> = targets
            .iter()
            .filter(|(of, shim)| *of == generation && shim.is_podhook())
            .collect();
        Some(**shims.get(n % shims.len().max(1))?)
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

fn parse_matrix(text: &str) -> Result<Vec<Target>, &str> {
    text.split([' ', ','])
        .filter(|word| !word.is_empty())
        .map(|word| {
            let (generation, shim) = word.split_once('/').ok_or(word)?;
            Ok((
                Generation::named(generation).ok_or(word)?,
                ShimKind::named(shim).ok_or(word)?,
            ))
        })
        .collect()
}

thread_local! {
    /// Where and why the test on this thread panicked; none on threads that run no test.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the message of a test's panic for its report, instead of a backtrace amid the others' lines.
fn keep_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map(|l| format!("{}:{}", l.file(), l.line()))
            .unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("panic");
        PANIC.with_borrow_mut(|kept| match kept {
            Some(text) => *text = format!("{place}: {message}"),
            None => eprintln!("{place}: {message}"),
        });
    }));
}

fn one(test: Test, (generation, shim): Target, shared: &Shared) -> Result<(), Failed> {
    let containerd = if test.own_containerd {
        Containerd::start(generation, shim).map(Arc::new)
    } else {
        shared.get(generation, shim)
    };
    let containerd = containerd.map_err(|error| error.to_string())?;
    let node = Node::new(Arc::clone(&containerd), shim);
    PANIC.set(Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(|| (test.run)(&node)));
    let panicked = PANIC.take().unwrap_or_default();
    let mut outcome = result.map_or(Err(panicked), |outcome| {
        outcome.map_err(|error| error.to_string())
    });
    // After a failure the remains say nothing new.
    if outcome.is_ok() {
        outcome = node.finish().map_err(|error| error.to_string());
    }
    if outcome.is_ok() && test.own_containerd {
        outcome = containerd.close().map_err(|error| error.to_string());
    }
    outcome.map_err(|message| format!("{message}\n{}", node.log()).into())
}

/// The containerds that tests share, one per generation and set of programs, started at the first use.
#[derive(Default)]
struct Shared {
    running: Mutex<HashMap<(Generation, bool), Arc<Containerd>>>,
}

impl Shared {
    fn get(&self, generation: Generation, shim: ShimKind) -> Result<Arc<Containerd>, Error> {
        let key = (generation, stands_in(generation, shim));
        // Held while containerd starts: the others wait for it instead of starting a second.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(containerd) = running.get(&key) {
            return Ok(Arc::clone(containerd));
        }
        let containerd = Arc::new(Containerd::start(generation, shim)?);
        running.insert(key, Arc::clone(&containerd));
        Ok(containerd)
    }

    /// Stops them all; false when one left something behind.
    fn close(&self) -> bool {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut clean = true;
        for ((generation, _), containerd) in running.drain() {
            if let Err(error) = containerd.close() {
                eprintln!("containerd {generation}: {error}");
                clean = false;
            }
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_matrix_is_understood() {
        let targets = parse_matrix(DEFAULT_MATRIX).expect("a matrix");
        assert_eq!(targets.len(), 5);
        assert_eq!(targets[0], (Generation::V1_6, ShimKind::Runc));
    }

    #[test]
    fn what_takes_long_meets_every_generation_and_every_configuration() {
        let targets = parse_matrix(DEFAULT_MATRIX).expect("a matrix");
        assert_eq!(
            each_generation_once(&targets),
            [
                (Generation::V1_6, ShimKind::Podhook),
                (Generation::V2, ShimKind::PodhookV1)
            ]
        );
        let targets = parse_matrix("2/podhook 1.7/runc").expect("a matrix");
        assert_eq!(
            each_generation_once(&targets),
            [(Generation::V2, ShimKind::Podhook)]
        );
    }

    #[test]
    fn an_unknown_word_in_the_matrix_is_named() {
        assert_eq!(parse_matrix("1.6/runc 1.5/runc"), Err("1.5/runc"));
        assert_eq!(parse_matrix("podhook"), Err("podhook"));
    }
}
