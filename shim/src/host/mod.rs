//! What the shim is on its node: its binary, its children, its memory, its limits.

pub mod apart;
pub mod bundle;
pub mod capture;
pub mod cgroup_place;
#[allow(unsafe_code)]
pub mod descriptors;
#[allow(unsafe_code)]
pub mod dispositions;
pub mod ending;
pub mod exit_status;
pub mod file;
pub mod helper;
pub mod members;
#[allow(unsafe_code)]
pub mod memory;
#[allow(unsafe_code)]
pub mod own_binary;
pub mod passing;
pub mod pidfd;
#[allow(unsafe_code)]
pub mod reaper;
#[cfg_attr(test, allow(unsafe_code))]
pub mod sealed;
#[allow(unsafe_code)]
pub mod signal_mask;
#[allow(unsafe_code)]
pub mod signals;
