//! What is left when a shim was killed: nothing. (The original leaves its socket.)

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use podhook_integration::containerd::remains;
use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::json;

use crate::cgroup;
use crate::script::{Error, held, polite, words};

pub fn tests() -> Vec<Test> {
    tests![crash:
        the_container_of_a_killed_shim_goes_with_its_cgroup_and_hook,
    ]
}

/// Kills the shim of a container of ctr's.
fn kill_shim(node: &Node, id: &str) -> Result<(), Error> {
    let shims = remains::shims(&node.containerd().address());
    let shim = shims.iter().find(|shim| shim.id == id).ok_or("no shim")?;
    Ok(kill(Pid::from_raw(shim.pid), Signal::SIGKILL)?)
}

fn the_container_of_a_killed_shim_goes_with_its_cgroup_and_hook(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let lifecycle = json!({"preStop": held(&trace, "hook")?});
    let container = node
        .container("orphan")
        .flag(["--mount", &trace.mount()])
        .lifecycle(&lifecycle.to_string())
        .start(&words(&polite()))?;
    trace.wait("ready")?;
    let own = cgroup::of_container(&container)?;
    container.kill("SIGTERM")?;
    trace.wait("hook-begin")?;
    assert_eq!(cgroup::leaves(&own).len(), 1);
    kill_shim(node, container.id())?;
    assert_eq!(container.wait_exit(SOON)?, 137);
    wait::until_true("the end of the cgroup", SOON, || !own.exists())?;
    Ok(())
}
