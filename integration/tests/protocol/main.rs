//! The shim's binary by itself, driven as containerd drives it: verbs, messages on stdin and stdout, RPCs
//! over ttrpc. What containerd-shim-runc-v2 does too is tested with it first.

mod bootstrap;
mod client;
mod criu;
mod crun;
mod direct;
mod ending;
mod entrypoint;
mod events;
mod execs;
mod exhaustion;
mod exit_status;
mod files;
mod given_up;
mod killed;
mod labels;
mod limits;
mod logging;
mod memory;
mod metrics;
mod options;
mod rootfs;
mod sandbox;
mod scarce;
mod signals;
mod slow;
mod stage;
mod start;
mod states;
mod stdio;
mod storage;
mod together;
mod traced;
mod verbs;
mod wording;

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use podhook_integration::again::again;
use podhook_integration::protocol::{bundle, daemon, runtime};
use podhook_integration::slow::{tell_longest, watched};
use podhook_integration::{Generation, Outcome};

use stage::{Kind, Stage};

/// One behaviour.
pub struct Test {
    name: &'static str,
    run: fn(&Stage) -> Outcome,
    podhook_only: bool,
    /// Why it cannot run with a shim, if so.
    unless: fn(Kind) -> Option<&'static str>,
}

/// `tests![states: first, second]`
macro_rules! tests {
    ($module:ident: $($name:ident),* $(,)?) => {
        vec![$($crate::Test {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: $name,
            podhook_only: false,
            unless: |_| None,
        }),*]
    };
}
pub(crate) use tests;

/// The same tests, with podhook only.
pub fn podhook_only(tests: Vec<Test>) -> Vec<Test> {
    tests
        .into_iter()
        .map(|test| Test {
            podhook_only: true,
            ..test
        })
        .collect()
}

/// The same tests, but not where `reason` gives one: there they are listed as ignored, with the reason.
pub fn unless(tests: Vec<Test>, reason: fn(Kind) -> Option<&'static str>) -> Vec<Test> {
    tests
        .into_iter()
        .map(|test| Test {
            unless: reason,
            ..test
        })
        .collect()
}

/// The yardsticks: the oldest, the long-term release and the newest.
const KINDS: [(&str, Kind); 4] = [
    ("podhook", Kind::Podhook),
    ("runc-1.6", Kind::Go(Generation::V1_6)),
    ("runc-2.3", Kind::Go(Generation::V2_3)),
    ("runc-2.4", Kind::Go(Generation::V2_4)),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(6);
    podhook_integration::containerd::scrub::stale();
    panic::set_hook(Box::new(|info| PANIC.set(info.to_string())));
    let criu = podhook_integration::criu::works();
    if let Err(why) = &criu {
        eprintln!("checkpoint and restore are not tested: {why}");
    }
    let tests = [
        bootstrap::tests(),
        criu::tests(),
        crun::tests(),
        direct::tests(),
        ending::tests(),
        entrypoint::tests(),
        events::tests(),
        exit_status::tests(),
        execs::tests(),
        exhaustion::tests(),
        files::tests(),
        limits::tests(),
        given_up::tests(),
        killed::tests(),
        labels::tests(),
        logging::tests(),
        memory::tests(),
        metrics::tests(),
        options::tests(),
        rootfs::tests(),
        sandbox::tests(),
        signals::tests(),
        slow::tests(),
        states::tests(),
        stdio::tests(),
        storage::tests(),
        together::tests(),
        traced::tests(),
        verbs::tests(),
        wording::tests(),
    ];
    let all = tests.into_iter().flatten().map(|test| (test, true));
    let live = criu::live().into_iter().map(|test| (test, criu.is_ok()));
    let mut trials = Vec::new();
    for (test, possible) in all.chain(live) {
        for (shim, kind) in KINDS {
            if kind == Kind::Podhook || !test.podhook_only {
                let reason = (test.unless)(kind);
                let name = format!("{shim}/{}", test.name);
                let label = name.clone();
                let trial = Trial::test(name, move || {
                    watched(&label, || again(&label, || one(test.run, kind)))
                });
                let trial = trial.with_ignored_flag(!possible || reason.is_some());
                trials.push(trial.with_kind(reason.unwrap_or_default()));
            }
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    tell_longest();
    conclusion.exit_code()
}

thread_local! {
    /// Where and why the test on this thread panicked.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn one(test: fn(&Stage) -> Outcome, kind: Kind) -> Result<(), Failed> {
    let stage = Stage::new(kind).map_err(|e| e.to_string())?;
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| test(&stage)));
    let outcome = outcome.unwrap_or_else(|_| Err(PANIC.take().into()));
    let outcome = outcome.and_then(|()| stage.finish());
    outcome.map_err(|e| format!("{e}\n{}", stage.logs()).into())
}
