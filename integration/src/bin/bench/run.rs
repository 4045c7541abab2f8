//! `ctr run --rm` of `/bin/true`, from the command to its end.

use std::process::Stdio;
use std::time::Instant;

use podhook_integration::{Node, ShimKind};

use crate::Fallible;
use crate::floor;
use crate::rounds::{self, Method, samples};
use crate::samples::{Samples, ratio};
use crate::stage::Stage;
use crate::table::{self, Budget, ms};

const PODHOOK: &str = "ctr run --rm, podhook";
const RUNC: &str = "ctr run --rm, runc-v2";
const CTR: &str = "ctr itself: ctr version";
const NO_TASK: &str = "ctr container create, rm: no task";
const NO_SHIM: &str = "mount, runc create, start, delete: no shim";

/// Measures and prints.
///
/// # Errors
/// When something cannot be measured.
pub fn run(stage: &Stage, rounds: usize) -> Fallible<Vec<Budget>> {
    let (runc, podhook) = (stage.node(ShimKind::Runc), stage.node(ShimKind::Podhook));
    // Imports the image, and makes the cgroup that all containers are below.
    for node in [&runc, &podhook] {
        node.container("first").run_rm(&["/bin/true"])?.success()?;
    }
    let everything = stage.everything()?;
    let one = |node: &Node| {
        let mut command = node.container("run").run_rm_command(&["/bin/true"])?;
        timed(&mut command)
    };
    let alone = floor::Runtime::open(&runc)?;
    let runtime = ShimKind::Runc.runtime()?;
    let mut methods = vec![
        Method::each(PODHOOK, 3, &everything, || one(&podhook)),
        Method::each(RUNC, 3, &everything, || one(&runc)),
        Method::each(CTR, 3, &everything, || {
            timed(runc.ctr().command().arg("version"))
        }),
        Method::each(NO_TASK, 3, &everything, || {
            floor::container_alone(&runc, &runtime)
        }),
        Method::each(NO_SHIM, 3, &everything, || alone.once()),
    ];
    rounds::interleave(&mut methods, rounds)?;
    let none = Samples::default();
    let of = |name| samples(&methods, name).unwrap_or(&none);
    let rows: Vec<_> = methods
        .iter()
        .map(|Method { name, samples, .. }| {
            vec![
                (*name).to_owned(),
                samples.wall.len().to_string(),
                ms(samples.median()),
                ms(samples.p99()),
                ms(samples.cpu_each()),
                format!("{:.2}", ratio(samples.median(), of(RUNC).median())),
                format!("{:.2}", ratio(samples.cpu_each(), of(RUNC).cpu_each())),
            ]
        })
        .collect();
    let heads = [
        "",
        "n",
        "median",
        "p99",
        "CPU each",
        "of runc-v2",
        "of its CPU",
    ];
    table::print("A container from its making to its end", &heads, &rows);
    let whole = of(NO_TASK).median() + of(NO_SHIM).median();
    let least = whole.saturating_sub(of(CTR).median());
    println!(
        "\n  Without any shim (no task + no shim - one start of ctr): {}, {:.2} of runc-v2. What the shims add: \
         podhook {}, runc-v2 {}.",
        ms(least),
        ratio(least, of(RUNC).median()),
        ms(of(PODHOOK).median().saturating_sub(least)),
        ms(of(RUNC).median().saturating_sub(least)),
    );
    Ok(vec![Budget {
        what: "ctr run --rm, podhook / runc-v2",
        measured: ratio(of(PODHOOK).median(), of(RUNC).median()),
        limit: 0.7,
        unit: "",
    }])
}

fn timed(command: &mut std::process::Command) -> Fallible<std::time::Duration> {
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
