//! One run at one place.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use podhook_integration::containerd::remains;
use podhook_integration::execs::Execs;
use podhook_integration::pattern::Pattern;
use podhook_integration::progress::Progress;
use podhook_integration::{Containerd, Node, Place};
use podhook_integration::{record, wait};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Endpoint;

use crate::Error;
use crate::arguments::Arguments;
use crate::cycle::{Cycle, Took};
use crate::growth::SERIES;
use crate::pod::{self, Counts};
use crate::watch::Sample;

/// Looks in a run.
const LOOKS: u64 = 240;
/// So many wrong answers are enough.
const ENOUGH: usize = 20;

/// What was seen.
#[derive(Debug)]
pub struct Run {
    pub place: Place,
    pub samples: Vec<Sample>,
    pub took: Vec<Took>,
    pub probes: u64,
    pub execs: u64,
    /// Answers and outputs that were wrong or lost.
    pub errors: Vec<String>,
    /// What was there more after the run than before.
    pub left: Vec<String>,
}

impl Run {
    pub fn of(place: Place, arguments: &Arguments) -> Result<Self, Error> {
        let containerd = Arc::new(Containerd::start_at(place)?);
        let node = Node::new(Arc::clone(&containerd), place.shim);
        let run = live(&node, arguments)?;
        node.finish()?;
        containerd.close()?;
        Ok(run)
    }

    /// Everything that must not be.
    pub fn wrong(&self) -> Vec<String> {
        let grown = SERIES
            .iter()
            .filter(|series| series.judged && series.has_grown(&self.samples));
        let grown = grown.map(|series| {
            let (before, after) = series.ends(&self.samples);
            format!("{}: {before}, then {after}", series.name)
        });
        let mut wrong = self.errors.clone();
        wrong.extend(grown);
        wrong.extend(self.left.iter().cloned());
        wrong
    }
}

fn live(node: &Node, arguments: &Arguments) -> Result<Run, Error> {
    let podhook = node.shim().is_podhook();
    let containerd = node.containerd();
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let example = node.container("pattern").create(&["true"])?;
    let pattern = runtime.block_on(pattern(containerd, node.ctr().namespace(), example.id()))?;
    let pod = node.pod("soak").run()?;
    let container = pod::container(&pod, podhook)?;
    let shim = shim_of(containerd, pod.id())?;
    let before = Sample::take(containerd, shim)?;
    let (over, done, counts) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(Counts::default()),
    );
    let execs = Arc::new(pod_execs(&runtime, &container, containerd)?);
    let begun = Instant::now();
    let executing: Vec<_> = (0..pod::EXECS)
        .map(|_| {
            let (counts, over) = (Arc::clone(&counts), Arc::clone(&over));
            let execs = Arc::clone(&execs);
            runtime.spawn(async move {
                let (execs, process) = &*execs;
                pod::execs(execs, process, &counts, begun, &over).await
            })
        })
        .collect();
    let logs = containerd.dir().join("logs");
    let workers: Vec<_> = (0..arguments.parallel)
        .map(|_| {
            let (pattern, logs) = (pattern.clone(), logs.clone());
            let (over, done) = (Arc::clone(&over), Arc::clone(&done));
            runtime.spawn(async move { work(&pattern, podhook, logs, &over, &done).await })
        })
        .collect();
    let (samples, mut errors) = thread::scope(|scope| {
        let probing = scope.spawn(|| pod::probe(&container, &counts, &over));
        let samples = watch(containerd, shim, arguments.minutes, &done);
        over.store(true, Ordering::Relaxed);
        let errors = probing.join().map_err(|_| "the probes panicked")?;
        Ok::<_, Error>((samples?, errors))
    })?;
    for executing in executing {
        errors.extend(runtime.block_on(executing)?);
    }
    let mut took = Vec::new();
    for worker in workers {
        let (times, wrong) = runtime.block_on(worker)?;
        took.extend(times);
        errors.extend(wrong);
    }
    let left = left(containerd, shim, before)?;
    errors.extend(pod_end(&container, podhook)?);
    drop(container);
    pod.remove()?;
    drop(example);
    Ok(Run {
        place: node.place(),
        samples,
        took,
        probes: counts.probes.load(Ordering::Relaxed),
        execs: counts.execs.load(Ordering::Relaxed),
        errors,
        left,
    })
}

async fn pattern(containerd: &Containerd, namespace: &str, id: &str) -> Result<Pattern, Error> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", containerd.address().display()))?;
    Pattern::of(endpoint.connect().await?, namespace, id).await
}

fn shim_of(containerd: &Containerd, id: &str) -> Result<u32, Error> {
    let shims = remains::shims(&containerd.address());
    let shim = shims.iter().find(|shim| shim.id == id).ok_or("no shim")?;
    Ok(u32::try_from(shim.pid)?)
}

/// What makes execs in the pod's container.
fn pod_execs(
    runtime: &Runtime,
    container: &podhook_integration::node::PodContainer<'_>,
    containerd: &Containerd,
) -> Result<(Execs, Value), Error> {
    let config = std::fs::read_to_string(container.bundle().join("config.json"))?;
    let mut process = serde_json::from_str::<Value>(&config)?["process"].take();
    process["terminal"] = false.into();
    let address = containerd.address();
    let connected = Execs::connect(&address, "k8s.io", container.id());
    Ok((runtime.block_on(connected)?, process))
}

/// One container after the other.
async fn work(
    pattern: &Pattern,
    podhook: bool,
    logs: PathBuf,
    over: &AtomicBool,
    done: &AtomicU64,
) -> (Vec<Took>, Vec<String>) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let (mut took, mut wrong) = (Vec::new(), Vec::new());
    while !over.load(Ordering::Relaxed) && wrong.len() < ENOUGH {
        let cycle = Cycle {
            pattern,
            podhook,
            logs: &logs,
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        };
        match cycle.live().await {
            Ok(times) => took.push(times),
            Err(error) => wrong.push(error.to_string()),
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    (took, wrong)
}

fn watch(
    containerd: &Containerd,
    shim: u32,
    minutes: u64,
    done: &AtomicU64,
) -> Result<Vec<Sample>, Error> {
    let length = Duration::from_secs(minutes * 60);
    let every = (length / u32::try_from(LOOKS)?).max(Duration::from_secs(1));
    let mut progress = Progress::new("second", usize::try_from(minutes * 60)?);
    let begun = Instant::now();
    let mut samples = Vec::new();
    while begun.elapsed() < length {
        thread::sleep(every);
        let mut sample = Sample::take(containerd, shim)?;
        sample.at = begun.elapsed().as_secs_f64();
        sample.done = done.load(Ordering::Relaxed);
        samples.push(sample);
        let second = begun.elapsed().as_secs().min(minutes * 60);
        progress.done(usize::try_from(second)?);
    }
    Ok(samples)
}

/// What there is more of than before the run, once it has had time to go.
fn left(containerd: &Containerd, shim: u32, before: Sample) -> Result<Vec<String>, Error> {
    let mut left = Vec::new();
    let mut look = || {
        let now = Sample::take(containerd, shim)?;
        let all = [
            ("shims", before.shims, now.shims),
            ("cgroups", before.cgroups, now.cgroups),
            ("mounts", before.mounts, now.mounts),
            // Others of root's may have come meanwhile; a container's is gone with it.
            ("keys", before.keys + 200, now.keys),
            ("inotify of the shim", before.shim.inotify, now.shim.inotify),
            (
                "descriptors of the shim",
                before.shim.files + 4,
                now.shim.files,
            ),
        ];
        left = all
            .iter()
            .filter(|(_, before, now)| now > before)
            .map(|(what, before, now)| format!("{what}: {before} before, {now} after"))
            .collect();
        Ok::<_, Error>(left.is_empty())
    };
    let gone = wait::until_true("the end", wait::SOON, || look().unwrap_or(false));
    drop(gone);
    look()?;
    Ok(left)
}

/// The pod's container ends as it should, and its hooks ran once in all that time.
fn pod_end(
    container: &podhook_integration::node::PodContainer<'_>,
    podhook: bool,
) -> Result<Vec<String>, Error> {
    let watched = record::Watch::start(container.bundle());
    container.stop(60)?;
    let status = container.wait_exit(wait::SOON)?.exit_code;
    let mut wrong = Vec::new();
    if status != 9 {
        wrong.push(format!("the pod's container has ended with {status}"));
    }
    let lines = container.log()?;
    let hooks: Vec<_> = lines.iter().map(|(_, text)| text.as_str()).collect();
    if podhook && hooks != ["post", "pre"] {
        wrong.push(format!(
            "the pod's hooks: {hooks:?}, {:?}",
            watched.phases()
        ));
    }
    Ok(wrong)
}
