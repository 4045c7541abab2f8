//! What an event costs that containerd has not taken yet.

use containerd_shim_protos::api::{PauseRequest, ResumeRequest};
use podhook_integration::progress::Progress;
use podhook_integration::wait::{self, SOON};

use crate::Fallible;
use crate::direct::{create_request, start_request};
use crate::memory::Footprint;
use crate::row::Label;
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::stage::Stage;
use crate::verbs::Bare;

/// Events that wait, fewer than the shim keeps.
const EVENTS: usize = 8000;

/// Only podhook keeps them: the original's calls wait for room in a queue of 128.
///
/// # Errors
/// A shim's answer, or an event that is lost.
pub fn run(stage: &Stage, sheet: &mut Sheet) -> Fallible<()> {
    let mounts = stage.containerd().mount_namespace();
    let mounts = mounts.map(|fd| fd.try_clone_to_owned()).transpose()?;
    let state = stage.containerd().dir().join("state/queue");
    let bare = Bare::open(stage.spot, state, mounts)?;
    let id = "queue";
    let _log = bare.make_bundle(id, id)?;
    let (_, client) = bare.start(Shim::Podhook, id)?;
    client.call("Create", &create_request(&bare, id))?;
    client.call("Start", &start_request(id))?;
    bare.daemon.wait("start", SOON)?;
    let pid = i32::try_from(bare.pid(id)?)?;
    // What the first of these calls brings with it is no event's.
    pause_and_resume(&client, id)?;
    bare.daemon.wait("resumed", SOON)?;
    let before = Footprint::of(pid)?;
    let known = bare.daemon.events().len();

    bare.daemon.down();
    let mut progress = Progress::new("event", EVENTS);
    for number in 1..=EVENTS / 2 {
        pause_and_resume(&client, id)?;
        progress.done(2 * number);
    }
    let waiting = Footprint::of(pid)?;
    waiting
        .each_since(before, EVENTS)
        .report(sheet, "each event in the queue", Shim::Podhook);

    bare.daemon.up()?;
    wait::until_true("every event", SOON, || {
        bare.daemon.events().len() >= known + EVENTS
    })?;
    let label = Label::new(
        &format!("after {EVENTS} events that waited: private dirty"),
        Shim::Podhook.name(),
    );
    let after = Footprint::of(pid)?;
    sheet.values(&label, "kB", &[after.private], None);
    Ok(())
}

fn pause_and_resume(client: &crate::client::Direct, id: &str) -> Fallible<()> {
    let id = id.to_owned();
    client.call(
        "Pause",
        &PauseRequest {
            id: id.clone(),
            ..Default::default()
        },
    )?;
    client.call(
        "Resume",
        &ResumeRequest {
            id,
            ..Default::default()
        },
    )?;
    Ok(())
}
