//! The shim.
#[allow(dead_code, reason = "the task service calls it")]
mod cgroup;

fn main() {}
