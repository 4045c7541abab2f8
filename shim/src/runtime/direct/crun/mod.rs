//! crun's calls, on its `status`, its copy of `config.json` and `exec.fifo`.

mod status;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::Write;
use std::path::Path;

use nix::fcntl::OFlag;
use podhook_hooks::config_json::{self, RuntimeWork};

use super::folder::{FIFO, Folder};
use super::{Direct, HAS_POSTSTOP, HAS_RDT_GROUP, NO_PID_NAMESPACE, Unfit, remove_cgroups};
use crate::error::Error;
use crate::host::file;
use crate::runtime::presence;
use status::Status;

/// The files of a container, in the order of their removal: crun asks for its status first.
const FILES: [&str; 4] = [FIFO, "seccomp.bpf", config_json::FILE_NAME, status::FILE];
/// A folder that is empty but in the mount namespace of a `create` for a user namespace.
const DEVICES: &str = "devs";

/// crun's `start`: init goes on when there is something to read.
pub fn start(direct: &Direct) -> Result<(), Unfit> {
    let _mark = presence::mark(&direct.bundle)?;
    let folder = Folder::open(&direct.folder)?;
    if !Status::read(&folder)?.init.is_alive() {
        return Err(Unfit::Is("its init has ended"));
    }
    if work(direct)?.poststart {
        return Err(Unfit::Is("it has a poststart hook"));
    }
    let mut fifo = folder.fifo(OFlag::O_WRONLY)?;
    folder.remove_fifo()?;
    fifo.write_all(&[0]).map_err(Error::io("write", FIFO))?;
    Ok(())
}

/// crun's `delete` of a container that has ended: its cgroups and its state are removed.
pub fn remove(direct: &Direct) -> Result<(), Unfit> {
    let _mark = presence::mark(&direct.bundle)?;
    let status = Status::read(&Folder::open(&direct.folder)?)?;
    if status.init.is_alive() {
        return Err(Unfit::Is("its init is alive"));
    }
    let cgroups = status.own_cgroups()?;
    let work = work(direct)?;
    if work.rdt {
        return Err(Unfit::Is(HAS_RDT_GROUP));
    }
    if work.poststop {
        return Err(Unfit::Is(HAS_POSTSTOP));
    }
    if !work.own_pid_namespace {
        return Err(Unfit::Is(NO_PID_NAMESPACE));
    }
    let has_devices = has_devices(&direct.folder)?;
    remove_cgroups(&cgroups)?;
    if has_devices {
        let devices = direct.folder.join(DEVICES);
        fs::remove_dir(&devices).map_err(Error::io("remove", devices))?;
    }
    for name in FILES {
        file::remove(&direct.folder.join(name))?;
    }
    fs::remove_dir(&direct.folder).map_err(Error::io("remove", &direct.folder))?;
    Ok(())
}

fn work(direct: &Direct) -> Result<RuntimeWork, Unfit> {
    Ok(config_json::runtime_work(&direct.folder).map_err(Error::from)?)
}

/// Whether the container has that folder, where all the rest is known here.
fn has_devices(folder: &Path) -> Result<bool, Unfit> {
    let entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
    let mut has_devices = false;
    for entry in entries {
        let name = entry.map_err(Error::io("list", folder))?.file_name();
        if name == DEVICES {
            has_devices = true;
        } else if !FILES.iter().any(|known| name == *known) {
            return Err(Unfit::Is("its state has a file that is not known"));
        }
    }
    Ok(has_devices)
}
