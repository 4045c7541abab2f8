//! A pod whose client has given up its start: containerd hangs up, moves the bundle to a hidden name and removes what it can.
//! It never asks for that pod again.

use std::fs;
use std::thread;
use std::time::Duration;

use podhook_integration::Outcome;
use podhook_integration::containerd::remains;

use super::{ID, Pod, config, is_gone};
use crate::client::Client;
use crate::stage::Stage;
use crate::{Test, tests};

pub fn tests() -> Vec<Test> {
    tests![sandbox:
        a_pod_that_is_made_and_forgotten_ends,
        a_pod_that_runs_and_is_forgotten_ends,
        a_shim_is_shut_down_while_its_pod_is_made,
        a_pod_whose_containerd_is_away_stays,
    ]
}

/// As containerd does. It fails where something is mounted, and so it does here.
fn forget(stage: &Stage, pod: Pod) -> Outcome {
    let bundle = stage.bundle(ID);
    let hidden = bundle.with_file_name(format!(".{ID}"));
    drop(pod);
    fs::rename(&bundle, &hidden)?;
    assert!(fs::remove_dir_all(&hidden).is_err() && hidden.exists());
    stage.wait_gone(ID)?;
    assert!(!hidden.exists(), "{:?}", remains::mounts(&hidden));
    assert_eq!(stage.left_of(ID), Vec::<String>::new());
    Ok(())
}

fn a_pod_that_is_made_and_forgotten_ends(stage: &Stage) -> Outcome {
    let pod = Pod::of(stage)?;
    pod.create(stage, &config(), "")?;
    forget(stage, pod)
}

fn a_pod_that_runs_and_is_forgotten_ends(stage: &Stage) -> Outcome {
    let (pod, holder) = Pod::run(stage, &config(), "")?;
    forget(stage, pod)?;
    assert!(is_gone(holder));
    Ok(())
}

/// The start that was given up may be anywhere in its work.
fn a_shim_is_shut_down_while_its_pod_is_made(stage: &Stage) -> Outcome {
    for delay in (0..20).map(|step| Duration::from_micros(step * 200)) {
        let pod = Pod::of(stage)?;
        let ended = thread::scope(|scope| {
            let creating = scope.spawn(|| pod.create(stage, &config(), ""));
            thread::sleep(delay);
            let ended = pod.shutdown();
            // It may come too late.
            let _ = creating.join();
            ended
        });
        ended?;
        // The shim waits for its clients to hang up.
        drop(pod);
        stage.wait_gone(ID)?;
        assert_eq!(stage.left_of(ID), Vec::<String>::new(), "after {delay:?}");
        fs::remove_dir_all(stage.bundle(ID))?;
    }
    Ok(())
}

fn a_pod_whose_containerd_is_away_stays(stage: &Stage) -> Outcome {
    let (pod, holder) = Pod::run(stage, &config(), "")?;
    let address = pod.tasks.address().to_owned();
    drop(pod);
    // Longer than until the first looks.
    thread::sleep(Duration::from_secs(2));
    assert!(!is_gone(holder));
    let pod = Pod::by(Client::connect(&address, 3)?)?;
    assert_eq!(pod.state()?, super::READY);
    pod.end(stage)
}
