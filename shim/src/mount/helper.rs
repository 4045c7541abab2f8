//! Mounts that a program makes: those of FUSE, whose types begin with `fuse.` or `fuse3.`.

use std::path::Path;
use std::process::{Command, Stdio};

use containerd_shim_protos::types::mount::Mount;
use podhook_hooks::exec::{Children, Exit};

use crate::error::{Error, Result};
use crate::host::{capture, descriptors, signal_mask};

/// The programs that containerd calls, and no others.
const HELPERS: [(&str, &str); 2] = [("fuse.", "mount.fuse"), ("fuse3.", "mount.fuse3")];

/// The most of what a program prints that is kept for an error message.
const OUTPUT_LIMIT: u64 = 4 << 10;

/// The program for a mount, and its type without the prefix.
pub(super) fn of(one: &Mount) -> Option<(&'static str, &str)> {
    let mut helpers = HELPERS.iter();
    helpers.find_map(|(prefix, program)| Some((*program, one.type_.strip_prefix(prefix)?)))
}

/// Runs it to its end. What it leaves running serves the file system.
pub(super) async fn mount(
    (program, kind): (&str, &str),
    one: &Mount,
    target: &Path,
    children: &dyn Children,
) -> Result<()> {
    let printed = capture::file()?;
    let duplicate = || {
        printed
            .try_clone()
            .map_err(Error::sys("duplicate a file descriptor"))
    };
    let mut command = Command::new(program);
    command.arg(&one.source).arg(target);
    for option in &one.options {
        command.args(["-o", option]);
    }
    command
        .args(["-t", kind])
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(duplicate()?)
        .stderr(duplicate()?);
    signal_mask::pass_on(&mut command);
    descriptors::pass_on_limit(&mut command);
    let hold = children.hold();
    let child = command.spawn().map_err(Error::io("start", program))?;
    let exit = children.wait(child.id().cast_signed());
    drop(hold);
    let exit: Exit = exit
        .await
        .map_err(|_| Error::Missing("the mount helper's exit was lost"))?;
    if exit.code() == Some(0) {
        return Ok(());
    }
    let printed = capture::read_back(printed, OUTPUT_LIMIT);
    Err(Error::Lower(Box::new(Failed {
        program: program.to_owned(),
        status: exit.status(),
        printed: String::from_utf8_lossy(&printed).trim().to_owned(),
    })))
}

/// It has not mounted.
#[derive(Debug, thiserror::Error)]
#[error("{program}: exit status {status}: {printed}")]
struct Failed {
    program: String,
    status: u32,
    printed: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_that_of_the_types_prefix() {
        let helper = |kind: &str| {
            let one = Mount {
                type_: kind.to_owned(),
                ..Mount::default()
            };
            of(&one).map(|(program, kind)| (program, kind.to_owned()))
        };
        assert_eq!(
            helper("fuse3.fuse-overlayfs"),
            Some(("mount.fuse3", "fuse-overlayfs".to_owned()))
        );
        assert_eq!(
            helper("fuse.sshfs"),
            Some(("mount.fuse", "sshfs".to_owned()))
        );
        for other in ["fuse", "overlay", "", "nfs.x"] {
            assert_eq!(helper(other), None, "{other}");
        }
    }
}
