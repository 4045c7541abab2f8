//! What the shim is on its node: its binary, its children, its memory, its limits.

pub mod apart;
pub mod bundle;
pub mod cgroup_place;
pub mod descriptors;
pub mod ending;
pub mod memory;
pub mod own_binary;
pub mod pidfd;
pub mod reaper;
pub mod signal_mask;
pub mod signals;
