//! The machines' second disk: what they run, at the places of this machine's repository.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::Duration;

use podhook_integration::generation::{cache, repository, upstream};
use podhook_integration::{Image, command};

use crate::Error;
use crate::plan::{self, Run};
use crate::programs::Programs;

/// Of the folders in the folder for temporary files; the run's pid follows.
const PREFIX: &str = "podhook-v2-";

/// The containerd that does, in `integration/upstream`.
const PAUSELESS: &str = "containerd-2.4";

/// The disk's file, in a folder that goes when this is dropped.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// A disk with what `fill` puts into its root folder.
    pub fn new(fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<Self, Error> {
        remove_stale();
        let prefix = format!("{PREFIX}{}-", process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        let root = folder.path().join("disk");
        fs::create_dir(&root)?;
        fill(&root)?;
        let disk = Self { folder };
        run(Command::new("truncate")
            .args(["-s", "2G"])
            .arg(disk.image()))?;
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0", "-O", "^has_journal", "-d"])
            .arg(&root)
            .arg(disk.image()))?;
        fs::remove_dir_all(&root)?;
        Ok(disk)
    }

    /// The disk's file.
    pub fn image(&self) -> PathBuf {
        self.folder.path().join("disk.img")
    }

    /// A file beside it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Fills a disk with the programs of `machines` and everything they call.
pub fn with_tests(
    root: &Path,
    machines: &[(usize, Vec<Run>)],
    filter: Option<&str>,
    programs: &Programs,
) -> Result<(), Error> {
    let tree = root.join("tree");
    let tests = programs.tests.iter();
    let needed = tests.filter(|(target, _)| {
        let mut runs = machines.iter().flat_map(|(_, runs)| runs);
        runs.any(|run| run.program == target.as_str())
    });
    for from in needed.map(|(_, path)| path).chain(&programs.own) {
        let to = inside(&tree, from)?;
        // Debug information is nine tenths of them.
        run(Command::new("strip")
            .args(["--strip-debug", "-o"])
            .arg(&to)
            .arg(from))?;
    }
    for image in [Image::Busybox, Image::Nginx, Image::Pause] {
        let from = image.archive()?;
        let name = from.file_name().unwrap_or_default();
        let to = inside(&tree, &repository().join(".cache/images").join(name))?;
        fs::copy(&from, to)?;
    }
    // hooks/tests run them beside the one of the machine's Debian.
    for version in ["runc-1.4", "runc-1.5"] {
        of_upstream(root, version, "runc")?;
    }
    // That of the machine's Debian makes no pod without a pause container.
    for program in ["containerd", "ctr", "containerd-shim-runc-v2"] {
        of_upstream(root, PAUSELESS, program)?;
    }
    let examples = repository().join("examples");
    copy_tree(&examples, &inside(&tree, &examples)?)?;
    script(root, "program", &plan::dispatcher())?;
    for (number, runs) in machines {
        let text = plan::program(runs, programs, filter)?;
        script(root, &format!("program-{number}"), &text)?;
    }
    Ok(())
}

/// Adds a program of `integration/upstream`.
pub fn of_upstream(root: &Path, module: &str, program: &str) -> Result<(), Error> {
    let from = upstream(module, program)?;
    let name = from.strip_prefix(cache())?;
    let to = inside(&root.join("tree"), &repository().join(".cache").join(name))?;
    fs::copy(&from, to)?;
    Ok(())
}

/// Copies a folder.
pub fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    run(Command::new("cp").arg("-r").args([from, to]))
}

/// Writes a program.
pub fn script(root: &Path, name: &str, text: &str) -> Result<(), Error> {
    let path = root.join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(())
}

/// Removes the folders of runs that were killed.
fn remove_stale() {
    for entry in fs::read_dir(env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The place in `tree` of a file of this machine, its folder made.
fn inside(tree: &Path, path: &Path) -> Result<PathBuf, Error> {
    let relative = path
        .strip_prefix("/")
        .map_err(|_| format!("{} is relative", path.display()))?;
    let place = tree.join(relative);
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(place)
}

fn run(command: &mut Command) -> Result<(), Error> {
    command::run(command, None, Duration::from_secs(120))?.success()?;
    Ok(())
}
