//! What critest's images have and ours do not, as layers on top of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use podhook_integration::command;
use podhook_integration::wait::SOON;

use crate::Error;

/// What nginx' image takes from busybox: the cases look through its processes, and one has another port.
const APPLETS: [&str; 2] = ["grep", "sed"];

/// The cases run these in busybox' image, which Debian's busybox has not.
const TOOLS: [&str; 2] = ["/usr/bin/pgrep", "/usr/bin/ipcs"];

/// `grep`, `sed` and /var/run, where the cases look for the server's pid.
pub fn nginx(layers: &Path) -> Result<String, Error> {
    let tree = layers.join("nginx");
    copy(&tree, "/usr/bin/busybox")?;
    for applet in APPLETS {
        symlink("busybox", tree.join("usr/bin").join(applet))?;
    }
    fs::create_dir_all(tree.join("var"))?;
    symlink("/run", tree.join("var/run"))?;
    pack(&tree)
}

/// This machine's tools with their libraries.
pub fn tools(layers: &Path) -> Result<String, Error> {
    let tree = layers.join("tools");
    for tool in TOOLS {
        copy(&tree, tool)?;
        for word in command::stdout_of("ldd", &[tool])?.split_whitespace() {
            if word.starts_with('/') {
                copy(&tree, word)?;
            }
        }
    }
    pack(&tree)
}

/// The user of an image in a group of its own `/etc/group`.
pub fn group(layers: &Path) -> Result<String, Error> {
    let tree = layers.join("group");
    fs::create_dir_all(tree.join("etc"))?;
    fs::write(
        tree.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000::/home/default-user:/bin/sh\n",
    )?;
    fs::write(
        tree.join("etc/group"),
        "root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n",
    )?;
    pack(&tree)
}

/// A file of this machine, at its place in `tree`.
fn copy(tree: &Path, file: &str) -> Result<(), Error> {
    let to = tree.join(file.trim_start_matches('/'));
    fs::create_dir_all(to.parent().unwrap_or(tree))?;
    fs::copy(file, to).map_err(|e| format!("copy {file}: {e}"))?;
    Ok(())
}

/// The archive of a tree.
fn pack(tree: &Path) -> Result<String, Error> {
    let archive = tree.with_extension("tar");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(tree).arg("-cf").arg(&archive).arg(".");
    command::run(&mut tar, None, SOON)?.success()?;
    Ok(archive.display().to_string())
}
