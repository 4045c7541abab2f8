//! A pod of one container from its making to its end by CRI, call by call; then pods of more, and many at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Fallible;
use crate::arguments::Sizes;
use crate::cpu::Used;
use crate::pods::{Pods, Runs};
use crate::rounds::{SETTLE, rotate, timed};
use crate::row::Label;
use crate::samples::Samples;
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::stage::Stage;

/// The calls as the critest benchmark and the kubelet name them.
const CALLS: [&str; 6] = [
    "RunPodSandbox",
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "StopPodSandbox",
    "RemovePodSandbox",
];

/// From RunPodSandbox to the answer of StartContainer.
pub const UP: &str = "a pod of one, until it runs";
/// What the goals call a life.
pub const LIFE: &str = "a pod's life";

/// One pod of one container: the time of each of [`CALLS`].
fn life(pods: &Pods<'_>, shim: Shim) -> Fallible<[Duration; 6]> {
    let config = pods.config();
    let (pod, create_pod) = timed(|| pods.run(shim, config))?;
    let (container, create) = timed(|| pod.create(Runs::Pause, None))?;
    let ((), start) = timed(|| pod.start(&container))?;
    pods.wait_ready(&container, Runs::Pause)?;
    let ((), stop) = timed(|| pod.stop_container(&container))?;
    let ((), stop_pod) = timed(|| pod.stop())?;
    let ((), remove) = timed(|| pod.remove())?;
    Ok([create_pod, create, start, stop, stop_pod, remove])
}

/// One shim's part.
struct Side {
    shim: Shim,
    calls: [Samples; 6],
    /// Until the container runs.
    up: Samples,
    whole: Samples,
}

/// Pods of one container, one after the other.
///
/// # Errors
/// containerd's answer.
pub fn run(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let pods = stage.pods()?;
    let side = |shim: &Shim| Side {
        shim: *shim,
        calls: Default::default(),
        up: Samples::default(),
        whole: Samples::default(),
    };
    let mut sides: Vec<_> = stage.of_pods(stage.shims()).iter().map(side).collect();
    rotate("pod of one", sizes.rounds, &mut sides, |side, counts| {
        let before = stage.used()?;
        let times = life(&pods, side.shim)?;
        thread::sleep(SETTLE);
        let used = stage.used()? - before;
        if counts {
            for (samples, time) in side.calls.iter_mut().zip(times) {
                samples.push(time);
            }
            side.up.push(times.iter().take(3).sum());
            side.whole.push(times.iter().sum());
            side.whole.spent(used);
        }
        Ok(())
    })?;
    for (number, call) in CALLS.iter().enumerate() {
        for side in &sides {
            sheet.times(&Label::new(call, side.shim.name()), &side.calls[number]);
        }
    }
    for side in &sides {
        sheet.times(&Label::new(UP, side.shim.name()), &side.up);
        sheet.times(&Label::new(LIFE, side.shim.name()), &side.whole);
    }
    Ok(())
}

/// Pods of several containers: until the last has started, and from the stop to the end.
///
/// # Errors
/// containerd's answer.
pub fn of_many(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let pods = stage.pods()?;
    for (size, rounds) in [(5, sizes.share(0.32)), (20, sizes.share(0.12))] {
        let mut sides: Vec<_> = stage
            .pair()
            .map(|shim| (shim, Samples::default(), Samples::default()))
            .into();
        rotate("pod of many", rounds, &mut sides, |side, counts| {
            let (shim, up, down) = side;
            let before = stage.used()?;
            let (pod, up_time) = timed(|| filled(&pods, *shim, size))?;
            let ((), stop_time) = timed(|| pod.stop())?;
            let ((), remove_time) = timed(|| pod.remove())?;
            thread::sleep(SETTLE);
            let used = stage.used()? - before;
            if counts {
                up.push(up_time);
                up.spent(used);
                down.push(stop_time + remove_time);
            }
            Ok(())
        })?;
        for (shim, up, down) in &sides {
            // All of the CPU time stands with the first of the two.
            let label = Label::new(&format!("pod of {size}: to the last start"), shim.name());
            sheet.times(&label, up);
            let label = Label::new(&format!("pod of {size}: stop and removal"), shim.name());
            sheet.times(&label, down);
        }
    }
    Ok(())
}

fn filled<'a>(pods: &Pods<'a>, shim: Shim, size: usize) -> Fallible<crate::pods::Sandbox<'a>> {
    let pod = pods.run(shim, pods.config())?;
    let mut last = None;
    for _ in 0..size {
        let container = pod.create(Runs::Pause, None)?;
        pod.start(&container)?;
        last = Some(container);
    }
    // The others are ready by then.
    if let Some(last) = last {
        pods.wait_ready(&last, Runs::Pause)?;
    }
    Ok(pod)
}

/// Pods of one container, several at once: how many a second, and what each costs.
///
/// # Errors
/// containerd's answer.
pub fn at_once(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let pods = stage.pods()?;
    for (at_once, lives) in [(1, 16), (8, 40), (32, 64)] {
        let lives = sizes.or_long(lives, lives).max(at_once);
        for shim in stage.of_pods(&stage.pair()) {
            let (rate, times, used) = crowd(stage, &pods, shim, at_once, lives)?;
            let label = Label::new("pods a second", shim.name()).at_once(at_once);
            sheet.values(&label, "/s", &[rate], Some((used, lives)));
            let label = Label::new(LIFE, shim.name()).at_once(at_once);
            sheet.times(&label, &times);
        }
    }
    Ok(())
}

fn crowd(
    stage: &Stage,
    pods: &Pods<'_>,
    shim: Shim,
    at_once: usize,
    lives: usize,
) -> Fallible<(f64, Samples, Used)> {
    let begun = AtomicUsize::new(0);
    let work = || -> Fallible<Vec<Duration>> {
        let mut times = Vec::new();
        while begun.fetch_add(1, Ordering::Relaxed) < lives {
            times.push(life(pods, shim)?.iter().sum());
        }
        Ok(times)
    };
    let before = stage.used()?;
    let start = Instant::now();
    let all = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        let joined = workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| "a worker panicked")?);
        joined.collect::<Fallible<Vec<_>>>()
    })?;
    let elapsed = start.elapsed();
    thread::sleep(SETTLE);
    let used = stage.used()? - before;
    let samples = Samples {
        wall: all.into_iter().flatten().collect(),
        cpu: None,
    };
    Ok((lives as f64 / elapsed.as_secs_f64(), samples, used))
}
