//! Pods with an exec probe a second each, and who pays for one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Fallible;
use crate::arguments::Sizes;
use crate::pods::Pods;
use crate::row::Label;
use crate::samples::Samples;
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::stage::Stage;

/// Between two probes of a container.
const PERIOD: Duration = Duration::from_secs(1);

pub const PROBE: &str = "an exec probe";

/// Measures.
///
/// # Errors
/// containerd's answer.
pub fn run(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let pods = stage.pods()?;
    let (count, seconds) = (sizes.or_long(20, 100), sizes.or_long(20, 60));
    for shim in stage.shims() {
        let samples = probed(stage, &pods, *shim, count, seconds)?;
        sheet.times(&Label::new(PROBE, shim.name()).at_once(count), &samples);
    }
    Ok(())
}

fn probed(
    stage: &Stage,
    pods: &Pods<'_>,
    shim: Shim,
    count: usize,
    seconds: usize,
) -> Fallible<Samples> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(pods.asleep(shim)?);
    }
    let over = AtomicBool::new(false);
    let slot = PERIOD / u32::try_from(count)?.max(1);
    let probe = |number: usize, container: &str| -> Fallible<Vec<Duration>> {
        // One after the other, as the kubelet's workers begin at moments of their own.
        let mut due = Instant::now() + slot * u32::try_from(number)?;
        let mut times = Vec::new();
        loop {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if over.load(Ordering::Relaxed) {
                return Ok(times);
            }
            let begun = Instant::now();
            if pods.exec_sync(container, &["/bin/true"])? != 0 {
                return Err("a probe that failed".into());
            }
            times.push(begun.elapsed());
            due += PERIOD;
        }
    };
    let before = stage.used()?;
    let times = thread::scope(|scope| {
        let probe = &probe;
        let workers: Vec<_> = (0..)
            .zip(&all)
            .map(|(number, (_, container))| scope.spawn(move || probe(number, container)))
            .collect();
        thread::sleep(PERIOD * u32::try_from(seconds)?);
        over.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for worker in workers {
            times.extend(worker.join().map_err(|_| "a probe panicked")??);
        }
        Fallible::Ok(times)
    })?;
    let mut samples = Samples {
        wall: times,
        cpu: None,
    };
    samples.spent(stage.used()? - before);
    Ok(samples)
}
