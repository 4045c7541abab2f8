//! The shim asked directly, without containerd: each verb and each call of a container's life alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use containerd_shim_protos::api::{
    CreateTaskRequest, DeleteRequest, KillRequest, Mount, ShutdownRequest, StartRequest,
    WaitRequest,
};
use containerd_shim_protos::protobuf::Message;
use podhook_integration::protocol;
use podhook_integration::wait::{self, SOON};

use crate::Fallible;
use crate::arguments::Sizes;
use crate::client::Direct;
use crate::cpu;
use crate::rounds::{rotate, timed};
use crate::row::{Label, NO_SHIM};
use crate::samples::Samples;
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::stage::Stage;
use crate::verbs::Bare;

/// What is measured of one container, in its order.
const STEPS: [&str; 11] = [
    "start verb",
    "start verb, second container of the pod",
    "Create",
    "Start",
    "Create and Start",
    OWN_CPU,
    "Kill",
    "Kill to the exit event",
    "Delete",
    "Kill to Delete",
    "delete verb",
];

pub const OWN_CPU: &str = "the shim's own CPU from Create to Start";
pub const EMPTY: &str = "an empty C program";

/// Measures.
///
/// # Errors
/// When something cannot be measured.
pub fn run(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let mounts = stage.containerd().mount_namespace();
    let mounts = mounts.map(|fd| fd.try_clone_to_owned()).transpose()?;
    let state = stage.containerd().dir().join("state/direct");
    let bare = Bare::open(stage.spot, state, mounts)?;
    let empty = empty_program(stage)?;
    let mut able = Vec::new();
    for shim in stage.shims() {
        match life(&bare, *shim, &empty) {
            Ok(_) => able.push((*shim, STEPS.map(|_| Samples::default()))),
            Err(error) if *shim == Shim::Rust => sheet.missing(shim.name(), &error),
            Err(error) => return Err(error),
        }
    }
    let mut nothing = Samples::default();
    rotate(
        "container",
        sizes.rounds,
        &mut able,
        |(shim, steps), counts| {
            let life = life(&bare, *shim, &empty);
            let (times, started) = life.map_err(|error| format!("{}: {error}", shim.name()))?;
            if counts {
                for (samples, time) in steps.iter_mut().zip(times) {
                    samples.push(time);
                }
                nothing.push(started);
            }
            Ok(())
        },
    )?;
    sheet.times(&Label::new(EMPTY, NO_SHIM), &nothing);
    for (number, step) in STEPS.iter().enumerate() {
        for (shim, steps) in &able {
            sheet.times(&Label::new(step, shim.name()), &steps[number]);
        }
    }
    Ok(())
}

/// A container that sleeps and is killed, in the order of [`STEPS`]; and what the program `empty` takes that is started as the
/// verb is.
fn life(bare: &Bare, shim: Shim, empty: &Path) -> Fallible<([Duration; 11], Duration)> {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let (id, second) = (format!("c{number}"), format!("c{number}-second"));
    let _log = bare.make_bundle(&id, &id)?;
    let nothing = bare.run(Command::new(empty), &id)?;
    let (start_verb, client) = bare.start(shim, &id)?;
    let pid = bare.pid(&id)?;
    let before = cpu::of_process(pid)?;
    let create = client.call("Create", &create_request(bare, &id))?;
    let start = client.call("Start", &start_request(&id))?;
    let own = cpu::of_process(pid)?.saturating_sub(before);
    // A container of the pod whose shim is there; it is never created.
    let _second_log = bare.make_bundle(&second, &id)?;
    let (second_verb, _) = bare.start(shim, &second)?;
    if shim == Shim::Original {
        // Create writes it, and without it the verb `delete` of containerd 1.6's fails.
        fs::write(bare.bundle(&second).join("runtime"), "runc")?;
    }
    bare.delete(shim, &second)?;
    let _ = bare.daemon.take_with("start", SOON)?;
    let (kill, exit) = killed(bare, &client, &id)?;
    let delete = client.call("Delete", &delete_request(&id))?;
    let delete_verb = bare.delete(shim, &id)?;
    let shutdown = ShutdownRequest {
        id: id.clone(),
        ..Default::default()
    };
    // The shim may end before its answer is out.
    let _ = client.call("Shutdown", &shutdown);
    wait::until_true("the end of the shim", SOON, || bare.pid(&id).is_err())?;
    for id in [&id, &second] {
        fs::remove_dir_all(bare.bundle(id))?;
    }
    let steps = [
        start_verb,
        second_verb,
        create,
        start,
        create + start,
        own,
        kill,
        exit,
        delete,
        exit + delete,
        delete_verb,
    ];
    Ok((steps, nothing))
}

/// SIGKILL with a Wait under way, as containerd has it: until the answer, and until the event is there.
fn killed(bare: &Bare, client: &Direct, id: &str) -> Fallible<(Duration, Duration)> {
    let wait = WaitRequest {
        id: id.to_owned(),
        ..Default::default()
    };
    let (payload, waiter) = (wait.write_to_bytes()?, client.clone());
    let waiting = protocol::runtime().spawn(async move { waiter.answered("Wait", payload).await });
    let request = KillRequest {
        id: id.to_owned(),
        signal: 9,
        ..Default::default()
    };
    let (kill, exit) = timed(|| {
        let kill = client.call("Kill", &request)?;
        bare.daemon.take_with("exit", SOON)?;
        Fallible::Ok(kill)
    })?;
    protocol::runtime().block_on(waiting)??;
    Ok((kill, exit))
}

#[must_use]
pub fn create_request(bare: &Bare, id: &str) -> CreateTaskRequest {
    let rootfs = Mount {
        type_: "bind".to_owned(),
        source: bare.rootfs().display().to_string(),
        options: ["rbind", "rw"].map(str::to_owned).into(),
        ..Default::default()
    };
    CreateTaskRequest {
        id: id.to_owned(),
        bundle: bare.bundle(id).display().to_string(),
        rootfs: vec![rootfs],
        ..Default::default()
    }
}

#[must_use]
pub fn start_request(id: &str) -> StartRequest {
    StartRequest {
        id: id.to_owned(),
        ..Default::default()
    }
}

#[must_use]
pub fn delete_request(id: &str) -> DeleteRequest {
    DeleteRequest {
        id: id.to_owned(),
        ..Default::default()
    }
}

/// The least that a program costs that is started and ends.
fn empty_program(stage: &Stage) -> Fallible<PathBuf> {
    let dir = stage.containerd().dir();
    let (source, program) = (dir.join("empty.c"), dir.join("empty"));
    fs::write(&source, "int main(void) { return 0; }\n")?;
    compiled(&source, &program)?;
    Ok(program)
}

/// What the C compiler makes of it.
///
/// # Errors
/// When it makes nothing.
pub fn compiled(source: &Path, program: &Path) -> Fallible<()> {
    let mut command = Command::new("cc");
    command.arg("-O2").arg("-o").arg(program).arg(source);
    let status = command.status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("cc: {status}").into()),
    }
}
