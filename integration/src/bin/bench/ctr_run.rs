//! `ctr run --rm` of `/bin/true`, from the command to its end, and what no shim can save of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use podhook_integration::Image;

use crate::Fallible;
use crate::arguments::Sizes;
use crate::floor;
use crate::rounds::{Method, interleave, report};
use crate::row::{Label, NO_SHIM};
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::stage::Stage;

pub const RUN: &str = "ctr run --rm";

/// Measures.
///
/// # Errors
/// When something cannot be measured.
pub fn run(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let node = stage.node();
    stage
        .containerd()
        .import(node.ctr().namespace(), Image::Busybox)?;
    let original = Shim::Original.runtime()?;
    // Outside of the mount namespace that crun's containerd has.
    let alone = match stage.containerd().mount_namespace() {
        Some(_) => Err("crun refuses the cgroups of this mount namespace".into()),
        None => floor::Runtime::open(&node),
    };
    let mut methods = Vec::new();
    for shim in stage.shims() {
        let (node, runtime, mut count) = (&node, shim.runtime()?, 0_u32);
        let label = Label::new(RUN, shim.name());
        methods.push(Method::each(label, 1, move || {
            count += 1;
            let id = format!("run-{}-{count}", shim.handler());
            let image = Image::Busybox.reference();
            let mut command = node.ctr().command();
            command
                .args(["run", "--rm", "--runtime", &runtime, "--fifo-dir"])
                .arg(node.ctr().fifos())
                .args([image, &id, "/bin/true"]);
            timed(&mut command)
        }));
    }
    let none = |what| Label::new(what, NO_SHIM);
    methods.push(Method::each(none("ctr itself: ctr version"), 1, || {
        timed(node.ctr().command().arg("version"))
    }));
    let no_task = none("ctr container create and rm: no task");
    methods.push(Method::each(no_task, 1, || {
        floor::container_alone(&node, &original)
    }));
    let no_shim = "mount, OCI runtime's create, start, delete: no shim";
    match &alone {
        Ok(alone) => methods.push(Method::each(none(no_shim), 1, || alone.once())),
        Err(reason) => sheet.missing(no_shim, reason),
    }
    interleave(stage, &mut methods, sizes.rounds)?;
    report(sheet, &methods);
    Ok(())
}

/// The time from before the fork until the command is reaped.
///
/// # Errors
/// When it cannot be run, or does not succeed.
pub fn timed(command: &mut Command) -> Fallible<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let elapsed = start.elapsed();
    if status.success() {
        Ok(elapsed)
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}
