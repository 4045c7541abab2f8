//! The fault.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::life::Life;
use super::{Error, Phase, Seed, Victim};
use crate::containerd::remains;
use crate::wait::{self, SOON};

/// Kills the victim.
pub fn kill_victim(
    life: &mut Life<'_>,
    phase: Phase,
    victim: Victim,
    seed: &mut Seed,
) -> Result<(), Error> {
    match victim {
        Victim::Shim => match phase {
            Phase::BundleMade => kill9(life.found.ok_or("no start")?),
            // One that ran on when it was let may be over.
            Phase::DeleteVerb => remains::calls(&life.id, "delete")
                .into_iter()
                .try_for_each(kill9),
            // So may be the shim that deletes its last container.
            Phase::Deleting => shim(life).map_or(Ok(()), kill9),
            _ => kill9(shim(life)?),
        },
        Victim::Containerd => containerd(life, seed),
        Victim::Runtime | Victim::Joiner => kill9(life.found.ok_or("none was found")?),
        Victim::Command => kill9(command(life, phase)?),
        Victim::Init => init(life, phase),
        Victim::Reader => {
            life.reader.close();
            Ok(())
        }
    }
}

/// SIGKILL; one that has ended by itself is as dead.
pub fn kill9(pid: i32) -> Result<(), Error> {
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The shim that serves the container.
pub fn shim(life: &Life<'_>) -> Result<i32, Error> {
    let shims = remains::shims(&life.node.containerd().address());
    let shim = shims.iter().find(|shim| shim.id == life.id);
    Ok(shim.ok_or("it has no shim")?.pid)
}

/// It comes up again; what is held goes on before or after that.
fn containerd(life: &mut Life<'_>, seed: &mut Seed) -> Result<(), Error> {
    let containerd = life.node.containerd();
    containerd.kill9()?;
    if seed.flag() {
        life.note("goes-on-without")?;
        release(life)?;
    }
    Ok(containerd.up()?)
}

/// Lets everything go on: what is held, and what was stopped.
pub fn release(life: &mut Life<'_>) -> Result<(), Error> {
    if let Some(pid) = life.found {
        let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
    }
    life.release()
}

/// The process that runs the script of a hook or an exec.
fn command(life: &Life<'_>, phase: Phase) -> Result<i32, Error> {
    let token = life.token(phase.name());
    let is_process = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"sh\0-c\0: ")
    };
    let found = wait::until("the command's process", SOON, || {
        remains::processes_with(&token).into_iter().find(is_process)
    });
    Ok(found?)
}

fn init(life: &Life<'_>, phase: Phase) -> Result<(), Error> {
    if phase != Phase::Create {
        return kill9(i32::try_from(life.init.ok_or("no init")?)?);
    }
    // As soon as there is one. That of a runtime that is done before it is seen is as good.
    let found = wait::until("init", SOON, || {
        life.init_in_bundle().or_else(|| first_in_cgroup(life))
    })?;
    kill9(i32::try_from(found)?)
}

fn first_in_cgroup(life: &Life<'_>) -> Option<u32> {
    let cgroups = life.node.containerd().cgroups(&life.id);
    let mut lists = cgroups
        .iter()
        .filter_map(|cgroup| fs::read_to_string(cgroup.join("cgroup.procs")).ok());
    lists.find_map(|list| list.lines().next()?.parse().ok())
}

/// Waits until the OCI runtime is done.
pub fn wait_for_runtime(life: &Life<'_>) -> Result<(), Error> {
    let is_over = || {
        let pid = life.found.unwrap_or_default();
        !Path::new(&format!("/proc/{pid}/cwd")).exists()
    };
    wait::until_true("the end of the OCI runtime", SOON, is_over)?;
    // The shim makes a container of what the runtime has made.
    let _ = wait::until_true("a task", Duration::from_secs(2), || {
        life.tasks.state(&life.id, "").is_ok()
    });
    Ok(())
}
