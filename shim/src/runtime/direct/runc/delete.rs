//! runc's `delete` of a container that has ended: its cgroups and its state are removed.

use super::state::State;
use crate::host::file;
use crate::runtime::direct::folder::Folder;
use crate::runtime::direct::{Direct, Unfit, remove_cgroups};
use crate::runtime::presence;

/// In runc's order: the state is there as long as something else is.
pub fn remove(direct: &Direct) -> Result<(), Unfit> {
    let _mark = presence::mark(&direct.bundle)?;
    let state = State::read(&Folder::open(&direct.folder)?, &direct.id)?;
    if state.init.is_alive() {
        return Err(Unfit::Is("its init is alive"));
    }
    if let Some(more) = state.to_do_at_end() {
        return Err(Unfit::Is(more));
    }
    if state.is_paused()? {
        return Err(Unfit::Is("it is paused"));
    }
    remove_cgroups(&state.cgroups)?;
    Ok(file::remove_tree(&direct.folder)?)
}
