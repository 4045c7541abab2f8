//! What an idle shim costs: alone, after many execs, per container of its pod and per process; and the size of its program.

use std::fs;
use std::thread;
use std::time::Duration;

use podhook_integration::execs::Execs;
use podhook_integration::progress::Progress;
use tokio::runtime::Builder;

use crate::Fallible;
use crate::arguments::Sizes;
use crate::client::Tasks;
use crate::pods::{Pods, Runs, Sandbox};
use crate::queue;
use crate::row::Label;
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::stage::Stage;
use crate::ways::process;

/// How long a shim is left alone before it is looked at: longer than its idle threads live.
const IDLE: Duration = Duration::from_secs(3);

/// A pod without a container.
pub const EMPTY_POD: &str = "an empty pod";

/// One shim at rest; memory in kB of 1,000 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    pub private: f64,
    proportional: f64,
    resident: f64,
    threads: f64,
    files: f64,
}

impl Footprint {
    /// Once it has been left alone.
    ///
    /// # Errors
    /// Where the process has ended.
    pub fn of(pid: i32) -> Fallible<Self> {
        thread::sleep(IDLE);
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let kb = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kib * 1.024)
        };
        let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map(Iterator::count);
        let read = |name| kb(name).ok_or_else(|| format!("/proc/{pid}: no {name}"));
        Ok(Self {
            private: read("Private_Dirty:")?,
            proportional: read("Pss:")?,
            resident: read("Rss:")?,
            threads: count("task")? as f64,
            files: count("fd")? as f64,
        })
    }

    /// What each of so many has added.
    #[must_use]
    pub fn each_since(self, before: Self, count: usize) -> Self {
        let each = |after: f64, before: f64| (after - before) / count as f64;
        Self {
            private: each(self.private, before.private),
            proportional: each(self.proportional, before.proportional),
            resident: each(self.resident, before.resident),
            threads: each(self.threads, before.threads),
            files: each(self.files, before.files),
        }
    }

    /// Notes it.
    pub fn report(self, sheet: &mut Sheet, what: &str, shim: Shim) {
        for (name, unit, value) in [
            ("private dirty", "kB", self.private),
            ("PSS", "kB", self.proportional),
            ("RSS", "kB", self.resident),
            ("threads", "", self.threads),
            ("descriptors", "", self.files),
        ] {
            let label = Label::new(&format!("{what}: {name}"), shim.name());
            sheet.values(&label, unit, &[value], None);
        }
    }
}

/// How often the threads of a process have begun to wait, which is how often something has woken them.
fn wakeups(pid: i32) -> Fallible<u64> {
    let mut all = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        all += line
            .ok_or("no voluntary_ctxt_switches")?
            .trim()
            .parse::<u64>()?;
    }
    Ok(all)
}

/// Measures.
///
/// # Errors
/// When something cannot be measured.
pub fn run(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let pods = stage.pods()?;
    for shim in stage.shims() {
        let program = shim.program(stage.spot.generation)?;
        let size = fs::metadata(program)?.len() as f64 / 1000.0;
        let label = Label::new("size of the program", shim.name());
        sheet.values(&label, "kB", &[size], None);
        of_shim(stage, &pods, *shim, sizes, sheet)?;
    }
    for shim in stage.of_pods(stage.shims()) {
        empty_pod(stage, &pods, shim, sheet)?;
    }
    drop(pods);
    queue::run(stage, sheet)
}

/// A pod without a container: its shim, and the process that is there for the pod.
fn empty_pod(stage: &Stage, pods: &Pods<'_>, shim: Shim, sheet: &mut Sheet) -> Fallible<()> {
    let pod = pods.run(shim, pods.config())?;
    let own = Footprint::of(stage.shim_of(&pod.id)?)?;
    let process = Footprint::of(pod.pid()?)?;
    for (name, value) in [
        ("private dirty", own.private + process.private),
        ("PSS", own.proportional + process.proportional),
    ] {
        let label = Label::new(&format!("{EMPTY_POD}: {name}"), shim.name());
        sheet.values(&label, "kB", &[value], None);
    }
    pod.stop()?;
    pod.remove()
}

fn of_shim(
    stage: &Stage,
    pods: &Pods<'_>,
    shim: Shim,
    sizes: Sizes,
    sheet: &mut Sheet,
) -> Fallible<()> {
    let (pod, container) = pods.asleep(shim)?;
    let pid = stage.shim_of(&pod.id)?;
    let one = Footprint::of(pid)?;
    one.report(sheet, "a pod of one", shim);
    let seconds = sizes.or_long(20, 600);
    let before = wakeups(pid)?;
    thread::sleep(Duration::from_secs(u64::try_from(seconds)?));
    let woken = wakeups(pid)?.saturating_sub(before);
    let label = Label::new(
        &format!("wakeups of an idle pod in {seconds} s"),
        shim.name(),
    );
    sheet.values(&label, "", &[woken as f64], None);

    let mut running = 1;
    for size in [5, 20, 50] {
        fill(&pod, size - running)?;
        running = size;
        let now = Footprint::of(pid)?;
        match size {
            50 => {
                let each = now.each_since(one, size - 1);
                each.report(sheet, "each container, 1 to 50", shim);
            }
            _ => now.report(sheet, &format!("a pod of {size}"), shim),
        }
    }
    pod.stop()?;
    pod.remove()?;
    drop(container);

    let (pod, container) = pods.asleep(shim)?;
    let pid = stage.shim_of(&pod.id)?;
    let bundle = stage.containerd().bundle("k8s.io", &container);
    let count = sizes.or_long(1000, 10_000);
    let mut tasks = Tasks::connect(&stage.containerd().address(), "k8s.io")?;
    let short = process(&bundle, &["/bin/true"])?;
    let mut progress = Progress::new("exec", count);
    for number in 1..=count {
        tasks.exec(&container, &short)?;
        progress.done(number);
    }
    let after = Footprint::of(pid)?;
    after.report(sheet, &format!("after {count} execs"), shim);

    let count = sizes.or_long(500, 2000);
    processes(stage, &container, count)?;
    let each = Footprint::of(pid)?.each_since(after, count);
    each.report(sheet, &format!("each process, 1 to {count}"), shim);
    pod.stop()?;
    pod.remove()
}

fn fill(pod: &Sandbox<'_>, count: usize) -> Fallible<()> {
    let mut progress = Progress::new("container", count);
    for number in 1..=count {
        let container = pod.create(Runs::Pause, None)?;
        pod.start(&container)?;
        progress.done(number);
    }
    Ok(())
}

/// So many that sleep; they end with the container.
fn processes(stage: &Stage, container: &str, count: usize) -> Fallible<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let bundle = stage.containerd().bundle("k8s.io", container);
    let asleep = process(&bundle, &["sleep", "1000000"])?;
    let address = stage.containerd().address();
    let mut progress = Progress::new("process", count);
    runtime.block_on(async {
        let execs = Execs::connect(&address, "k8s.io", container).await?;
        for number in 1..=count {
            execs.start(&format!("asleep-{number}"), &asleep).await?;
            progress.done(number);
        }
        Ok(())
    })
}
