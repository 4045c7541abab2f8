//! How fast the shim answers while it runs hooks.

use std::thread;
use std::time::Duration;

use containerd_shim_protos::api::{KillRequest, StateRequest};
use podhook_integration::containerd::remains;
use podhook_integration::progress::Progress;
use podhook_integration::record;

use crate::Fallible;
use crate::arguments::Sizes;
use crate::client::Direct;
use crate::pods::Runs;
use crate::row::Label;
use crate::samples::Samples;
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::stage::Stage;

/// `State` calls per phase.
const CALLS: usize = 2000;

pub const KILL: &str = "Kill that starts a preStop";
pub const STATE: &str = "State while hooks run";

/// A preStop that runs until the pod is removed.
const LIFECYCLE: &str = r#"{"preStop": {"exec": {"command": ["sleep", "1000000"]}},
    "terminationGracePeriodSeconds": 86400}"#;

/// Measures, with as many hooks in one pod as the sizes say.
///
/// # Errors
/// When something cannot be measured.
pub fn run(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let hooks = sizes.or_long(50, 100);
    let pods = stage.pods()?;
    let pod = pods.run(Shim::Podhook, pods.config())?;
    let mut ids = Vec::new();
    let mut progress = Progress::new("container", hooks);
    for number in 1..=hooks {
        let id = pod.create(Runs::Sleep, Some(LIFECYCLE))?;
        pod.start(&id)?;
        ids.push(id);
        progress.done(number);
    }
    let key = ("k8s.io".to_owned(), pod.id.clone());
    let socket = remains::socket(&stage.containerd().address(), &key);
    // Version 2 of the service is the one that every shim has.
    let shim = Direct::connect(&format!("unix://{}", socket.display()), 2)?;
    let state = |id: &str| {
        let request = StateRequest {
            id: id.to_owned(),
            ..Default::default()
        };
        shim.call("State", &request)
    };
    let states = || -> Fallible<Samples> {
        let wall = ids.iter().cycle().take(CALLS).map(|id| state(id));
        Ok(Samples {
            wall: wall.collect::<Fallible<_>>()?,
            cpu: None,
        })
    };
    thread::sleep(Duration::from_secs(1));
    let before = states()?;
    let (mut kill, mut between) = (Samples::default(), Samples::default());
    for id in &ids {
        let request = KillRequest {
            id: id.clone(),
            signal: 15,
            ..Default::default()
        };
        kill.push(shim.call("Kill", &request)?);
        // The hook of this Kill is being started now.
        for _ in 0..5 {
            between.push(state(id)?);
        }
    }
    thread::sleep(Duration::from_secs(1));
    let during = states()?;
    let bundle = |id: &String| stage.containerd().bundle("k8s.io", id);
    let records = ids.iter().filter_map(|id| record::read(&bundle(id)));
    let running = records.filter(|record| record.phase == "PreStop").count();
    if running != hooks {
        return Err(format!("{running} of {hooks} hooks run").into());
    }
    for (what, samples) in [
        ("State, no hook runs", &before),
        (KILL, &kill),
        ("State right after each Kill", &between),
        (STATE, &during),
    ] {
        let label = Label::new(what, Shim::Podhook.name()).at_once(hooks);
        sheet.times(&label, samples);
    }
    // A removal would wait for hooks that never end: SIGKILL ends them.
    for id in ids {
        let request = KillRequest {
            id,
            signal: 9,
            ..Default::default()
        };
        shim.call("Kill", &request)?;
    }
    pod.stop()?;
    pod.remove()
}
