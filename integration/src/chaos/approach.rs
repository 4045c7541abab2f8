//! The way to each phase.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::life::{EXEC, EXEC_EXIT, Life, begin};
use super::strike::{self, shim};
use super::{Error, Phase, Seed, Victim};
use crate::containerd::remains;
use crate::hanging::{Hanging, PLACE};
use crate::tasks::Stdio;
use crate::trace::mark;
use crate::wait::scaled;

/// What the OCI runtime does takes less than this on an idle machine: a delay that is as long at the most hits its middle.
const RUNTIME: Duration = Duration::from_millis(60);

const SIGTERM: i32 = 15;

/// Brings the container to the phase. False where it came too late, which only that of [`Phase::BundleMade`] can.
pub fn to(
    life: &mut Life<'_>,
    phase: Phase,
    victim: Victim,
    seed: &mut Seed,
) -> Result<bool, Error> {
    if phase == Phase::BundleMade {
        return bundle_made(life, seed);
    }
    if phase == Phase::Create {
        let stdio = life.reader.stdio();
        let create = move |life: &mut Life<'_>| {
            life.begin("Create", move |tasks, id| {
                tasks.create(id, &stdio).map(|_| None)
            });
        };
        hold(life, "create", victim, seed, create)?;
        return Ok(true);
    }
    life.create()?;
    match phase {
        Phase::Start => {
            hold(life, "start", victim, seed, begin_start)?;
            return Ok(true);
        }
        Phase::PostStart => {
            begin_start(life);
            life.wait_mark(&begin("postStart"))?;
        }
        _ => {}
    }
    if phase <= Phase::PostStart {
        return Ok(true);
    }
    life.start()?;
    match phase {
        Phase::Exec => exec(life, victim, seed)?,
        Phase::PreStop | Phase::Signalled | Phase::Exited | Phase::Deleting => {
            life.call(|tasks, id| tasks.kill(id, "", SIGTERM, false))?;
        }
        Phase::DeleteVerb => {
            hold(life, "delete", victim, seed, |life| {
                // Without a shim the wait for the runtime says that there is none.
                drop(shim(life).map(strike::kill9));
            })?;
        }
        _ => {}
    }
    match phase {
        Phase::PreStop => life.wait_mark(&begin("preStop"))?,
        Phase::Signalled => life.wait_mark(&begin("term"))?,
        Phase::Exited => life.wait_ended()?,
        Phase::Deleting => {
            life.wait_ended()?;
            hold(life, "delete", victim, seed, |life| {
                life.begin("Delete", |tasks, id| tasks.delete(id, "").map(Some));
            })?;
        }
        _ => {}
    }
    Ok(true)
}

fn begin_start(life: &mut Life<'_>) {
    life.begin("Start", |tasks, id| tasks.start(id, "").map(|_| None));
}

/// Makes a call for which the shim calls the OCI runtime, and returns when that waits, or is amid its work.
fn hold(
    life: &mut Life<'_>,
    verb: &str,
    victim: Victim,
    seed: &mut Seed,
    call: impl FnOnce(&mut Life<'_>),
) -> Result<(), Error> {
    let held = life.runtime.hold(&life.id, verb)?;
    call(life);
    life.found = Some(held.wait()?);
    life.held = Some(held);
    let delay = seed.delay(scaled(RUNTIME));
    // Before there is an init only the runtime itself can be killed without it.
    let is_amid = seed.flag() || (verb == "create" && victim == Victim::Init);
    if is_amid {
        life.note("amid")?;
        life.release()?;
        if victim != Victim::Init || verb != "create" {
            thread::sleep(delay);
        }
    }
    Ok(())
}

/// The process of `start`, stopped. It is there for some milliseconds only.
fn bundle_made(life: &mut Life<'_>, seed: &mut Seed) -> Result<bool, Error> {
    let containerd = life.node.containerd().pid().ok_or("no containerd")?;
    let delay = seed.delay(Duration::from_millis(4));
    let stdio = life.reader.stdio();
    life.begin("Create", move |tasks, id| {
        tasks.create(id, &stdio).map(|_| None)
    });
    let is_start = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.any(|word| word == life.id.as_bytes()) && line.ends_with(b"\0start\0")
    };
    while life.is_under_way("Create") {
        if let Some(pid) = remains::children(containerd).into_iter().find(is_start) {
            // Not asleep: a sleep this short takes longer.
            let begun = Instant::now();
            while begun.elapsed() < delay {}
            let stopped = kill(Pid::from_raw(pid), Signal::SIGSTOP).is_ok();
            life.found = Some(pid);
            return Ok(stopped && is_start(&pid));
        }
    }
    Ok(false)
}

/// An exec that runs, or that is on its way into the container.
fn exec(life: &mut Life<'_>, victim: Victim, seed: &mut Seed) -> Result<(), Error> {
    let script = life.script("exec", true)?;
    let script = format!("{script}; {}; exit {EXEC_EXIT}", mark("exec-exit"));
    let on_its_way = match victim {
        Victim::Joiner => true,
        Victim::Command | Victim::Runtime => false,
        _ => life.node.shim().is_podhook() && seed.flag(),
    };
    let mut directory = "/".to_owned();
    if on_its_way {
        life.note("on-its-way")?;
        life.hanging = Some(Hanging::mount(life.init.ok_or("no init")?)?);
        directory = format!("{PLACE}/cwd");
    }
    let words = ["sh", "-c", &script];
    life.call(|tasks, id| tasks.exec_in(&directory, id, EXEC, &words, &Stdio::default()))?;
    let start = |life: &mut Life<'_>| {
        life.begin("Start of the exec", |tasks, id| {
            tasks.start(id, EXEC).map(|_| None)
        });
    };
    if victim == Victim::Runtime {
        return hold(life, "exec", victim, seed, start);
    }
    start(life);
    if let Some(hanging) = &life.hanging {
        hanging.wait_for_request()?;
        life.found = joiner(life)?;
        return Ok(());
    }
    life.wait_mark(&begin("exec"))?;
    life.begin("Wait for the exec", |tasks, id| {
        tasks.wait(id, EXEC).map(Some)
    });
    Ok(())
}

/// The child of the shim that is not the container's init.
fn joiner(life: &Life<'_>) -> Result<Option<i32>, Error> {
    let init = life.init.and_then(|pid| i32::try_from(pid).ok());
    let shim = u32::try_from(shim(life)?)?;
    let mut children = remains::children(shim).into_iter();
    Ok(children.find(|pid| Some(*pid) != init))
}
