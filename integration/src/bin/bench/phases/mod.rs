//! Where the time of a call goes: the OCI runtime's programs, the shim's own, and what is left, which is containerd and the kernel.
//! By perf's tracepoints: when a program was executed and when it ended, and when the shim woke and slept again.

mod spans;
mod trace;

use std::thread;
use std::time::Duration;

use crate::Fallible;
use crate::arguments::Sizes;
use crate::pods::{Pods, Runs};
use crate::row::Label;
use crate::samples::ms;
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::stage::Stage;
use spans::Span;
use trace::{Recording, Trace};

/// The calls that are looked into.
pub const CALLS: [&str; 4] = [
    "RunPodSandbox",
    "StartContainer",
    "StopContainer",
    "StopPodSandbox",
];

/// Who has the time, in the order of the picture.
pub const OWNERS: [&str; 5] = [
    "OCI runtime",
    "network plugins",
    "the shim's verbs",
    "the shim's server",
    "containerd and the kernel",
];

/// What a row is of.
#[must_use]
pub fn what(call: &str, owner: &str) -> String {
    format!("{call}: {owner}")
}

/// The time in between belongs to none of the calls.
const BETWEEN: Duration = Duration::from_millis(100);

/// Measures.
///
/// # Errors
/// containerd's answer, and perf's.
pub fn run(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let pods = stage.pods()?;
    let recording = Recording::start(stage.containerd().dir())?;
    let mut lives = Vec::new();
    let shims = stage.of_pods(&stage.pair());
    for _ in 0..sizes.share(0.4) {
        for &shim in &shims {
            lives.push((shim, life(&pods, shim)?));
        }
    }
    let trace = recording.end()?;
    if trace.busy.is_empty() {
        return Err("perf has seen no server of podhook's wake up".into());
    }
    for &shim in &shims {
        let of_shim: Vec<_> = lives.iter().filter(|life| life.0 == shim).collect();
        for (number, call) in CALLS.iter().enumerate() {
            let shares: Vec<_> = of_shim
                .iter()
                .map(|(_, spans)| shares(&trace, spans[number], shim))
                .collect();
            for (at, owner) in OWNERS.iter().enumerate() {
                let values: Vec<f64> = shares.iter().map(|shares| shares[at]).collect();
                sheet.values(
                    &Label::new(&what(call, owner), shim.name()),
                    "ms",
                    &values,
                    None,
                );
            }
        }
    }
    Ok(())
}

/// When each of [`CALLS`] was under way.
fn life(pods: &Pods<'_>, shim: Shim) -> Fallible<[Span; 4]> {
    let (pod, run) = trace::spanned(|| pods.run(shim, pods.config()))?;
    let container = pod.create(Runs::Pause, None)?;
    thread::sleep(BETWEEN);
    let ((), start) = trace::spanned(|| pod.start(&container))?;
    pods.wait_ready(&container, Runs::Pause)?;
    thread::sleep(BETWEEN);
    let ((), stop) = trace::spanned(|| pod.stop_container(&container))?;
    thread::sleep(BETWEEN);
    let ((), stop_pod) = trace::spanned(|| pod.stop())?;
    pod.remove()?;
    thread::sleep(BETWEEN);
    Ok([run, start, stop, stop_pod])
}

/// Milliseconds of each of [`OWNERS`]: a moment is the first's of those that are at work in it. The server of a shim in Go cannot be
/// told from containerd.
fn shares(trace: &Trace, call: Span, shim: Shim) -> [f64; 5] {
    // A server in Go is executed as a verb is, and ends later.
    let verbs = trace
        .verbs
        .iter()
        .copied()
        .filter(|verb| call.begin <= verb.begin && verb.end <= call.end)
        .collect();
    let busy = match shim {
        Shim::Podhook | Shim::Pauseless => spans::within(&trace.busy, call),
        _ => Vec::new(),
    };
    let at_work = [
        spans::within(&trace.runtime, call),
        spans::within(&trace.network, call),
        verbs,
        busy,
        vec![call],
    ];
    let (mut covered, mut told) = (Vec::new(), Duration::ZERO);
    at_work.map(|of_one| {
        covered = spans::union([std::mem::take(&mut covered), of_one].concat());
        let before = std::mem::replace(&mut told, spans::length(&covered));
        ms(told - before)
    })
}
