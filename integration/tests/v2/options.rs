//! Options of the shim that are about cgroups.

use std::fs;
use std::path::Path;

use podhook_integration::containerd::remains;
use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};

use crate::cgroup;

pub fn tests() -> Vec<Test> {
    tests![options:
        a_shim_is_in_the_cgroup_that_its_option_names_and_its_containers_are_not,
    ]
}

fn a_shim_is_in_the_cgroup_that_its_option_names_and_its_containers_are_not(
    node: &Node,
) -> Outcome {
    let name = format!("{}-shims", node.containerd().id());
    let shims = Path::new("/sys/fs/cgroup").join(&name);
    fs::create_dir(&shims)?;
    let checked = placed(node, &name);
    // The kernel may still be busy with the process that was there.
    wait::until_true("the end of the shims' cgroup", SOON, || {
        fs::remove_dir(&shims).is_ok()
    })?;
    checked
}

fn placed(node: &Node, name: &str) -> Outcome {
    let pod = node.pod("placed").placed().run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let shims = remains::shims(&node.containerd().address());
    let shim = shims.iter().find(|shim| shim.id == pod.id());
    assert_eq!(
        cgroup::path(shim.ok_or("no shim")?.pid)?,
        format!("/{name}")
    );
    let own = cgroup::path(cgroup::pid(node, &container)?)?;
    assert!(own.contains(container.id()), "{own}");
    // What an exec starts is the container's, too, though the shim is its parent.
    let place = container.exec(&["cat", "/proc/self/cgroup"])?;
    assert_eq!(place, "0::/\n");
    Ok(())
}
