//! The end of the parent's memory in the joiner.

use crate::exec::plan::foreign::Foreign;
use crate::exec::plan::sys;

/// Unmaps it.
///
/// # Safety
/// The process has this memory for itself, runs on a stack that stays, and uses nothing else of what goes: no variable
/// of its thread either.
pub(super) unsafe fn unmap(foreign: &Foreign) -> sys::Result<()> {
    if let Some((start, end)) = foreign.emptied {
        // SAFETY: by contract.
        unsafe { sys::empty(start, end.wrapping_sub(start))? };
    }
    for &(start, end) in foreign.holes {
        // SAFETY: by contract.
        unsafe { sys::unmap(start, end.wrapping_sub(start))? };
    }
    Ok(())
}
