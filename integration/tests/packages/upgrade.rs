//! An upgrade while containers run, and a removal.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use podhook::setup::root::Root;
use podhook::setup::shims::{self, Shim};
use podhook_integration::packages::NEW;
use podhook_integration::podhook::Podhook;
use podhook_integration::suite::Test;
use podhook_integration::wait::SOON;
use podhook_integration::{Node, Outcome, tests, wait};
use serde_json::Value;

use crate::root::{Failure, installed};

pub fn tests() -> Vec<Test> {
    tests![upgrade: containers_live_through_an_upgrade_and_keep_the_package_from_being_removed]
}

/// A container that says when its preStop runs, and ends by the signal.
const SCRIPT: &str = "trap 'exit 3' TERM; echo ready; while :; do usleep 20000; done";
const HOOK: &str = r#"{"preStop": {"exec": {"command": ["true"]}}}"#;

/// The shim of a container.
fn shim_of(id: &str) -> Result<Shim, Failure> {
    let all = shims::all(&Root::open(Path::new("/"))?);
    let mut of = all
        .into_iter()
        .filter(|shim| shim.container.ends_with(&format!("/{id}")));
    Ok(of.next().ok_or_else(|| format!("no shim of {id}"))?)
}

/// The file that a process runs.
fn inode_of(shim: &Shim) -> Result<u64, Failure> {
    Ok(fs::metadata(format!("/proc/{}/exe", shim.pid))?.ino())
}

fn containers_live_through_an_upgrade_and_keep_the_package_from_being_removed(
    node: &Node,
) -> Outcome {
    let installed = installed()?;
    let host = Root::open(Path::new("/"))?;
    let before = installed.inode()?;
    let old = node
        .container("old")
        .lifecycle(HOOK)
        .start(&["sh", "-c", SCRIPT])?;
    old.wait_output("ready", SOON)?;
    let old_shim = shim_of(old.id())?;
    assert_eq!(inode_of(&old_shim)?, before);

    let package = installed.packages.deb(NEW).display().to_string();
    installed.dpkg(&["--install", &package])?.success()?;
    let after = installed.inode()?;
    assert_ne!(after, before, "the program was written over, not replaced");
    assert!(
        old_shim.lives(&host),
        "the shim of a running container has ended"
    );
    assert_eq!(inode_of(&old_shim)?, before);
    old.exec(&["true"])?.success()?;

    let new = node
        .container("new")
        .lifecycle(HOOK)
        .start(&["sh", "-c", SCRIPT])?;
    new.wait_output("ready", SOON)?;
    assert_eq!(inode_of(&shim_of(new.id())?)?, after);

    let versions = Podhook::new(node.containerd()).run(&["version", "-o", "json"])?;
    let versions: Value = serde_json::from_str(&versions)?;
    assert_eq!(versions["runningShims"][0]["count"], 2, "{versions}");
    assert_eq!(
        versions["runningShims"][0]["version"], versions["podhook"]["version"],
        "{versions}"
    );

    let refused = installed.dpkg(&["--purge", "podhook"])?;
    assert_ne!(refused.status, 0, "{refused:?}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(
        said.contains("podhook: containers run on it, shims: 2. Nothing was removed."),
        "{said}"
    );
    assert!(installed.shim().exists() && old_shim.lives(&host));

    for container in [old, new] {
        let record = container.watch_record();
        container.kill("SIGTERM")?;
        assert_eq!(container.wait_exit(SOON)?, 3);
        assert_eq!(record.latest().hooks[0].result(), Some("Succeeded"));
        container.delete()?;
    }
    // What podhook has kept goes with a purge; what a removal leaves is nothing of the package's.
    let root = installed.root();
    for file in ["etc/podhook/config.toml", "var/lib/podhook/pods/a"] {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap_or(&root))?;
        fs::write(path, "")?;
    }
    wait::until_true("the shims end", SOON, || !old_shim.lives(&host))?;
    installed.dpkg(&["--purge", "podhook"])?.success()?;
    let mut left = Vec::new();
    find(&root, &mut left)?;
    assert_eq!(left, Vec::<PathBuf>::new());
    Ok(())
}

/// What is called podhook below a folder.
fn find(folder: &Path, found: &mut Vec<PathBuf>) -> Outcome {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_named = entry.file_name().to_string_lossy().contains("podhook");
        if is_named {
            found.push(entry.path());
        } else if entry.file_type()?.is_dir() {
            find(&entry.path(), found)?;
        }
    }
    Ok(())
}
