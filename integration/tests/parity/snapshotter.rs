//! Root filesystems of another kind than an overlay.

use std::path::Path;

use podhook_integration::command::stdout_of;
use podhook_integration::suite::{Test, unless};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Node, Outcome, tests};

pub fn tests() -> Vec<Test> {
    unless(
        tests![snapshotter: a_root_filesystem_in_a_file_is_mounted_and_let_go],
        |place| {
            if !Path::new("/dev/loop-control").exists() {
                return Some("this machine has no loop devices");
            }
            (place.generation < Generation::V2_3)
                .then_some("its containerd is not configured with the blockfile snapshotter")
        },
    )
}

/// The loop devices of the files in a folder.
fn devices(folder: &Path) -> Result<Vec<String>, podhook_integration::command::Error> {
    let list = stdout_of("losetup", &["--noheadings", "--output", "BACK-FILE"])?;
    let of = |line: &&str| Path::new(line.trim()).starts_with(folder);
    Ok(list.lines().filter(of).map(str::to_owned).collect())
}

fn a_root_filesystem_in_a_file_is_mounted_and_let_go(node: &Node) -> Outcome {
    let container = node
        .container("file")
        .flag(["--snapshotter", "blockfile"])
        .start(&[
            "sh",
            "-c",
            "echo x > /inside; grep ' / ' /proc/mounts; sleep 600",
        ])?;
    container.wait_output("ext4", SOON)?;
    assert_eq!(container.exec(&["cat", "/inside"])?.stdout, "x\n");
    let files = node.containerd().dir().to_owned();
    assert!(!devices(&files)?.is_empty());
    container.kill("SIGKILL")?;
    container.wait_exit(SOON)?;
    container.delete()?;
    wait::until_true("the loop devices to be free", SOON, || {
        devices(&files).is_ok_and(|devices| devices.is_empty())
    })?;
    Ok(())
}
