//! The memory of the crowd's shims.

use std::fs;

use podhook_integration::Node;
use podhook_integration::containerd::remains;
use podhook_integration::node::Pod;

use crate::script::Error;

/// The most that a shim of the test's own profile (debug) may have, in KiB: it serves a pod of ten containers.
const LIMIT: u64 = 4096;

/// Prints and checks the private dirty memory of every pod's shim.
pub fn report(node: &Node, pods: &[Pod<'_>], when: &str) -> Result<(), Error> {
    let shims = remains::shims(&node.containerd().address());
    let mut sizes = Vec::new();
    for pod in pods {
        let shim = shims.iter().find(|shim| shim.id == pod.id());
        let shim = shim.ok_or("a pod without a shim")?;
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", shim.pid))?;
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Private_Dirty:"))
            .ok_or("no Private_Dirty")?;
        sizes.push(line.trim().trim_end_matches(" kB").parse::<u64>()?);
    }
    sizes.sort_unstable();
    let (least, most) = (sizes.first().copied(), sizes.last().copied());
    let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
    eprintln!("private dirty memory of the shims {when}: {least} to {most} KiB");
    assert!(most <= LIMIT, "{when}: {sizes:?} KiB");
    Ok(())
}
