//! How fast the shim answers while it runs hooks.

use std::thread;
use std::time::Duration;

use podhook_integration::ShimKind;
use podhook_integration::containerd::remains;
use podhook_integration::progress::Progress;

use crate::Fallible;
use crate::samples::Samples;
use crate::stage::Stage;
use crate::table::{self, Budget, ms};
use crate::tasks::Shim;

/// `State` calls per phase.
const CALLS: usize = 2000;

/// A preStop that runs until the pod is removed.
const LIFECYCLE: &str = r#"{"preStop": {"exec": {"command": ["sleep", "1000000"]}},
    "terminationGracePeriodSeconds": 86400}"#;

/// Measures and prints, with so many hooks in one pod.
///
/// # Errors
/// When something cannot be measured.
pub fn run(stage: &Stage, hooks: usize) -> Fallible<Vec<Budget>> {
    let node = stage.node(ShimKind::Podhook);
    let pod = node.pod("hooks").run()?;
    let mut containers = Vec::new();
    let mut progress = Progress::new("container", hooks);
    for number in 0..hooks {
        let container = pod
            .container(&format!("c{number}"))
            .command(&["sleep", "1000000"])
            .annotation("podhook.dev/lifecycle", LIFECYCLE);
        containers.push(container.start()?);
        progress.done(number + 1);
    }
    let ids: Vec<_> = containers.iter().map(|c| c.id().to_owned()).collect();
    let key = ("k8s.io".to_owned(), pod.id().to_owned());
    let socket = remains::socket(&stage.containerd().address(), &key);
    let shim = Shim::connect(&socket)?;
    let states = || -> Fallible<Samples> {
        let wall = ids.iter().cycle().take(CALLS).map(|id| shim.state(id));
        Ok(Samples {
            wall: wall.collect::<Fallible<_>>()?,
            ..Samples::default()
        })
    };
    thread::sleep(Duration::from_secs(1));
    let before = states()?;
    let (mut kill, mut between) = (Samples::default(), Samples::default());
    for id in &ids {
        kill.wall.push(shim.kill(id, 15)?);
        // The hook of this Kill is being started now.
        for _ in 0..5 {
            between.wall.push(shim.state(id)?);
        }
    }
    thread::sleep(Duration::from_secs(1));
    let during = states()?;
    let running = containers
        .iter()
        .filter_map(podhook_integration::node::PodContainer::record)
        .filter(|record| record.phase == "PreStop")
        .count();
    if running != hooks {
        return Err(format!("{running} of {hooks} hooks run").into());
    }
    let row = |name: String, samples: &Samples| {
        vec![
            name,
            samples.wall.len().to_string(),
            ms(samples.median()),
            ms(samples.p99()),
            ms(samples.quantile(1.0)),
        ]
    };
    table::print(
        &format!("Answers of one shim, {hooks} containers with preStop, over ttrpc"),
        &["", "n", "median", "p99", "slowest"],
        &[
            row("State, no hook runs".to_owned(), &before),
            row("Kill that starts preStop".to_owned(), &kill),
            row("State right after each Kill".to_owned(), &between),
            row(format!("State, {hooks} hooks run"), &during),
        ],
    );
    let in_ms = |samples: &Samples| samples.p99().as_secs_f64() * 1000.0;
    Ok(vec![
        Budget {
            what: "Kill with a preStop configured: p99",
            measured: in_ms(&kill),
            limit: 5.0,
            unit: " ms",
        },
        Budget {
            what: "State while hooks run: p99",
            measured: in_ms(&during),
            limit: 5.0,
            unit: " ms",
        },
        Budget {
            what: "State while hooks are started: p99",
            measured: in_ms(&between),
            limit: 5.0,
            unit: " ms",
        },
    ])
}
