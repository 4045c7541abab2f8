//! What an idle shim costs, alone and per container of its pod.

use std::time::Duration;
use std::{fs, thread};

use podhook_integration::ShimKind;

use crate::Fallible;
use crate::stage::Stage;
use crate::table::{self, Budget};

/// How long a shim is left alone before it is looked at: longer than its idle threads live.
const IDLE: Duration = Duration::from_secs(3);

/// Containers in the pod beside the first, for the cost of one.
const FURTHER: u32 = 20;

/// One shim at rest; memory in kB.
#[derive(Debug, Clone, Copy, Default)]
struct Footprint {
    private_dirty: f64,
    resident: f64,
    proportional: f64,
    threads: f64,
}

impl Footprint {
    fn of(pid: i32) -> Fallible<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let read = || {
            Some(Self {
                private_dirty: field(&rollup, "Private_Dirty:")?,
                resident: field(&rollup, "Rss:")?,
                proportional: field(&rollup, "Pss:")?,
                threads: field(&status, "Threads:")?,
            })
        };
        read().ok_or_else(|| format!("/proc/{pid}: no memory").into())
    }

    fn growth(self, from: Self) -> Self {
        let each = |after: f64, before: f64| (after - before) / f64::from(FURTHER);
        Self {
            private_dirty: each(self.private_dirty, from.private_dirty),
            resident: each(self.resident, from.resident),
            proportional: each(self.proportional, from.proportional),
            threads: each(self.threads, from.threads),
        }
    }

    fn row(self, name: String, decimals: usize) -> Vec<String> {
        let kb = |value: f64| format!("{value:.decimals$} kB");
        vec![
            name,
            kb(self.private_dirty),
            kb(self.proportional),
            kb(self.resident),
            format!("{:.decimals$}", self.threads),
        ]
    }
}

/// Measures and prints.
///
/// # Errors
/// When something cannot be measured.
pub fn run(stage: &Stage) -> Fallible<Vec<Budget>> {
    let mut rows = Vec::new();
    let mut podhook = [Footprint::default(); 2];
    for shim in [ShimKind::Podhook, ShimKind::Runc] {
        let name = match shim {
            ShimKind::Runc => "runc-v2",
            _ => "podhook",
        };
        let node = stage.node(shim);
        let asleep = ["sleep", "1000000"];
        let alone = node.container("alone").start(&asleep)?;
        thread::sleep(IDLE);
        let pid = stage.shim_of(node.ctr().namespace(), alone.id())?;
        let one = Footprint::of(pid)?;

        let pod = node.pod("pod").run()?;
        let mut containers = vec![pod.container("c0").command(&asleep).start()?];
        let pid = stage.shim_of("k8s.io", pod.id())?;
        thread::sleep(IDLE);
        let first = Footprint::of(pid)?;
        for number in 1..=FURTHER {
            let container = pod.container(&format!("c{number}"));
            containers.push(container.command(&asleep).start()?);
        }
        thread::sleep(IDLE);
        let further = Footprint::of(pid)?.growth(first);
        rows.push(one.row(format!("{name}: one container"), 0));
        rows.push(first.row(format!("{name}: a pod of one"), 0));
        rows.push(further.row(format!("{name}: each further container of the pod"), 1));
        if shim == ShimKind::Podhook {
            podhook = [one, further];
        }
    }
    let heads = ["", "private dirty", "PSS", "RSS", "threads"];
    table::print("The shim at rest", &heads, &rows);
    let [one, further] = podhook;
    Ok(vec![
        Budget {
            what: "idle shim, one container: private dirty",
            measured: one.private_dirty / 1000.0 * 1.024,
            limit: 0.7,
            unit: " MB",
        },
        Budget {
            what: "idle shim, one container: threads",
            measured: one.threads,
            limit: 2.0,
            unit: "",
        },
        Budget {
            what: "each further container of the pod: private dirty",
            measured: further.private_dirty * 1.024,
            limit: 60.0,
            unit: " kB",
        },
    ])
}
