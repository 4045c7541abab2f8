//! Mounts that a program makes: those of FUSE, whose types begin with `fuse.` or `fuse3.`.

use std::path::Path;
use std::process::Command;

use containerd_shim_protos::types::mount::Mount;
use podhook_hooks::exec::Children;

use crate::error::Result;
use crate::host::helper;

/// The programs that containerd calls, and no others.
const HELPERS: [(&str, &str); 2] = [("fuse.", "mount.fuse"), ("fuse3.", "mount.fuse3")];

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
    let mut command = Command::new(program);
    command.arg(&one.source).arg(target);
    for option in &one.options {
        command.args(["-o", option]);
    }
    command.args(["-t", kind]);
    helper::run(program, command, children).await
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
