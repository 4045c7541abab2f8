//! `make test-v2`: boots small machines with the unified cgroup hierarchy and runs tests in them that were
//! built here. `integration/vm/build` makes the machine; docs/testing.md says more.
//!
//! `make test-kubernetes-v2`: boots a larger one and runs tests under a real kubelet in it.
//!
//! `make test-debian`: boots fresh Debians and does in them what an operator does with the package.

mod cluster;
mod debian;
mod disk;
mod plan;
mod programs;
mod qemu;
mod report;
mod tsc;

use std::env;
use std::process::{Command, ExitCode};

use podhook_integration::generation::{cache, repository};

use disk::Disk;
use plan::Run;
use qemu::{Machine, Size};
use report::Report;

type Error = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "\
usage: machine [[RUN/]FILTER]      tests whose name contains FILTER, as systemd/runc/oom::
       machine --kubernetes [FILTER] tests under a real kubelet whose name contains FILTER
       machine --debian [SUITE...] what an operator does with the package, on bookworm, trixie, testing";

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    let is_option = |word: &String| word.starts_with('-');
    let mode = words.first().filter(|word| is_option(word));
    let mode = mode.map(String::as_str);
    let rest = &words[usize::from(mode.is_some())..];
    let is_debian = mode == Some("--debian");
    let is_known = matches!(mode, None | Some("--debian" | "--kubernetes"));
    if !is_known || rest.iter().any(is_option) || (!is_debian && rest.len() > 1) {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    if env::consts::ARCH != "x86_64" {
        // Loud, because a green run would otherwise say more than it knows.
        let rule = "*".repeat(80);
        eprintln!(
            "{rule}\nNOT RUN: the tests in emulated machines (`make test-v2`, `make test-kubernetes-v2`, `make test-debian`) need an x86-64 machine; \
             this one is {}.\n{rule}",
            env::consts::ARCH
        );
        return ExitCode::SUCCESS;
    }
    let filter = rest.first().map(String::as_str);
    let done = match mode {
        Some("--debian") => debian::run(rest),
        Some(_) => cluster::run(filter),
        None => run(filter),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(101),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Makes what is booted; without a suite the machine of the tests.
fn build(suite: Option<&str>) -> Result<(), Error> {
    let mut builder = Command::new(repository().join("integration/vm/build"));
    if !builder.args(suite).status()?.success() {
        return Err("integration/vm/build failed".into());
    }
    Ok(())
}

/// Whether every test passed.
fn run(filter: Option<&str>) -> Result<bool, Error> {
    build(None)?;
    let programs = programs::build(&["v2", "protocol"], true)?;
    let (plans, filter) = match filter {
        Some(filter) => {
            let (plans, rest) = plan::choose(plan::machines(), filter);
            (plans, Some(rest))
        }
        None => (plan::machines(), None),
    };
    let disk = Disk::new(|root| disk::with_tests(root, &plans, filter.as_deref(), &programs))?;
    let machine = |(number, _): &(usize, _)| Machine {
        number: *number,
        folder: cache().join("vm"),
        kernel: plan::security(*number),
        size: Size::USUAL,
    };
    let machines: Vec<_> = plans.iter().map(machine).collect();
    boot(disk, &machines, &plans, filter.is_some())
}

/// Whether every test of the machines passed.
fn boot(
    disk: Disk,
    machines: &[Machine],
    plans: &[(usize, Vec<Run>)],
    filtered: bool,
) -> Result<bool, Error> {
    let mut report = Report::new(plans, filtered);
    let ends = qemu::boot(disk, machines, |said| match said {
        Some((number, line)) => report.line(number, line),
        None => report.silence(),
    })?;
    Ok(report.close(&ends))
}
