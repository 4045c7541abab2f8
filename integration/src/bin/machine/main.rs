//! `make test-v2`: boots small machines with the unified cgroup hierarchy and runs tests in them that were
//! built here. `integration/vm/build` makes the machine; docs/testing.md says more.
//!
//! `make test-debian`: boots fresh Debians and does in them what an operator does with the package.

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
use qemu::Machine;
use report::Report;

type Error = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "\
usage: machine [[RUN/]FILTER]      tests whose name contains FILTER, as systemd/runc/oom::
       machine --debian [SUITE...] what an operator does with the package, on bookworm, trixie, testing";

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    let is_option = |word: &String| word.starts_with('-');
    let is_debian = words.first().is_some_and(|word| word == "--debian");
    let rest = &words[usize::from(is_debian)..];
    if rest.iter().any(is_option) || (!is_debian && rest.len() > 1) {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    if env::consts::ARCH != "x86_64" {
        // Loud, because a green run would otherwise say more than it knows.
        let rule = "*".repeat(80);
        eprintln!(
            "{rule}\nNOT RUN: the tests in emulated machines (`make test-v2`, `make test-debian`) need an x86-64 machine; \
             this one is {}.\n{rule}",
            env::consts::ARCH
        );
        return ExitCode::SUCCESS;
    }
    let done = if is_debian {
        debian::run(rest)
    } else {
        run(rest.first().map(String::as_str))
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
    let programs = programs::build()?;
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
