//! Runs tests over namespaces of a cluster, as `1.37/podhook/tutorial::post_start`.
//!
//! `PODHOOK_KUBERNETES` says with which Kubernetes (default: 1.37). The other arguments are libtest's.

use std::collections::HashMap;
use std::env;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use libtest_mimic::{Arguments, Failed, Trial};

use super::{CONTAINERD, Cluster, Error, Namespace, Side, Version};
use crate::Outcome;
use crate::again::again;
use crate::containerd;
use crate::generation::{OciRuntime, upstream};
use crate::panics;
use crate::shim::{ShimKind, podhook_shim};
use crate::slow::watched;
use crate::suite::{AT_ONCE, at_once};

/// Pods mostly wait; the control plane does not.
const THREADS: usize = 4;

/// One behaviour.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// Its name: module and function.
    pub name: &'static str,
    pub run: fn(&Namespace<'_>) -> Outcome,
    /// Where it runs.
    pub sides: &'static [Side],
    /// It restarts what the others use, so none runs beside it.
    pub alone: bool,
}

/// Tests of what only podhook does: `kubernetes_tests![tutorial: first, second]`.
#[macro_export]
macro_rules! kubernetes_tests {
    ($module:ident: $($name:ident),* $(,)?) => {
        vec![$($crate::kubernetes::suite::Test {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: $name,
            sides: &$crate::kubernetes::Side::OWN,
            alone: false,
        }),*]
    };
}

/// The same tests, with the kubelet's own hooks too, and first of all on the original shim.
#[must_use]
pub fn on_every_side(tests: Vec<Test>) -> Vec<Test> {
    on(&Side::ALL, tests)
}

/// The same tests, with the kubelet's own hooks only, on both shims.
#[must_use]
pub fn of_the_kubelet(tests: Vec<Test>) -> Vec<Test> {
    on(&[Side::Original, Side::Lifecycle], tests)
}

fn on(sides: &'static [Side], tests: Vec<Test>) -> Vec<Test> {
    let moved = |test| Test { sides, ..test };
    tests.into_iter().map(moved).collect()
}

/// The same tests, each while no other runs.
#[must_use]
pub fn alone(tests: Vec<Test>) -> Vec<Test> {
    let alone = |test| Test {
        alone: true,
        ..test
    };
    tests.into_iter().map(alone).collect()
}

/// The body of the suite's `main`.
#[must_use]
pub fn run(tests: &[Test]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let words = env::var("PODHOOK_KUBERNETES").unwrap_or_else(|_| "1.37".to_owned());
    let mut versions = Vec::new();
    for word in words.split_whitespace() {
        match Version::named(word) {
            Some(version) => versions.push(version),
            None => {
                return refuse(&format!("PODHOOK_KUBERNETES: {word:?}: want 1.36 or 1.37"));
            }
        }
    }
    for version in &versions {
        if let Err(error) = check(*version) {
            return refuse(&format!("cannot run on Kubernetes {version}: {error}"));
        }
    }
    let shared = Arc::new(Shared::default());
    let mut trials = Vec::new();
    for version in versions {
        for test in tests {
            for side in test.sides {
                let (test, side, shared) = (*test, *side, Arc::clone(&shared));
                let name = format!("{version}/{side}/{}", test.name);
                let label = name.clone();
                trials.push(Trial::test(name, move || {
                    again(&label, || one(&label, test, version, side, &shared))
                }));
            }
        }
    }
    panics::keep();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let clean = shared.close();
    if conclusion.has_failed() || !clean {
        ExitCode::from(101)
    } else {
        ExitCode::SUCCESS
    }
}

/// Whether everything a cluster is made of is there.
fn check(version: Version) -> Result<(), Error> {
    for program in [
        "kubelet",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubectl",
    ] {
        version.program(program)?;
    }
    upstream("etcd", "etcd")?;
    upstream("crane", "crane")?;
    upstream("helm", "helm")?;
    let missing = containerd::Error::from;
    CONTAINERD.program("containerd").map_err(missing)?;
    CONTAINERD.oci_runtime(OciRuntime::Runc).map_err(missing)?;
    podhook_shim()?;
    Ok(())
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(2)
}

fn one(
    label: &str,
    test: Test,
    version: Version,
    side: Side,
    shared: &Shared,
) -> Result<(), Failed> {
    let (_alone, _beside);
    if test.alone {
        _alone = shared.turns.write().unwrap_or_else(PoisonError::into_inner);
    } else {
        _beside = shared.turns.read().unwrap_or_else(PoisonError::into_inner);
    }
    let cluster = shared.get(version)?;
    let namespace = Namespace::new(&cluster, side).map_err(|error| error.to_string())?;
    // Not with its turn, for which it may wait long.
    let outcome = watched(label, || panics::caught(|| (test.run)(&namespace)));
    outcome.map_err(|message| {
        if env::var_os(AT_ONCE).is_some() {
            at_once(label, &message);
        }
        message.into()
    })
}

/// The clusters that tests share, one per Kubernetes, started at the first use. One that does not start is not
/// tried again.
#[derive(Default)]
struct Shared {
    running: Mutex<HashMap<String, Result<Arc<Cluster>, String>>>,
    /// A test that is alone has the write half.
    turns: RwLock<()>,
}

impl Shared {
    fn get(&self, version: Version) -> Result<Arc<Cluster>, String> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || match Cluster::start(version, ShimKind::Podhook) {
            Ok(cluster) => Ok(Arc::new(cluster)),
            Err(error) => Err(format!("the cluster does not start: {error}")),
        };
        running
            .entry(version.to_string())
            .or_insert_with(start)
            .clone()
    }

    /// Stops them all; false when one left something behind.
    fn close(&self) -> bool {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut clean = true;
        for (version, cluster) in running.drain() {
            let Ok(cluster) = cluster else { continue };
            if let Err(error) = cluster.close() {
                eprintln!("Kubernetes {version}: {error}");
                clean = false;
            }
        }
        clean
    }
}
