//! `make test-v2`: boots small machines with the unified cgroup hierarchy and runs tests in them that were
//! built here. `integration/vm/build` makes the machine; docs/testing.md says more.

mod disk;
mod plan;
mod programs;
mod qemu;
mod report;
mod tsc;

use std::env;
use std::process::{Command, ExitCode};

use podhook_integration::generation::repository;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let filter = env::args().nth(1);
    if filter.as_deref().is_some_and(|word| word.starts_with('-')) {
        eprintln!(
            "usage: machine [[RUN/]FILTER]     (tests whose name contains FILTER, as systemd/runc/oom::)"
        );
        return ExitCode::from(2);
    }
    if env::consts::ARCH != "x86_64" {
        // Loud, because a green run would otherwise say more than it knows.
        let rule = "*".repeat(80);
        eprintln!(
            "{rule}\nNOT RUN: the tests on pure cgroup v2 (`make test-v2`) need an x86-64 machine; this one is {}.\n{rule}",
            env::consts::ARCH
        );
        return ExitCode::SUCCESS;
    }
    match run(filter.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(101),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every test passed.
fn run(filter: Option<&str>) -> Result<bool, Error> {
    let built = Command::new(repository().join("integration/vm/build")).status()?;
    if !built.success() {
        return Err("integration/vm/build failed".into());
    }
    let programs = programs::build()?;
    let (machines, filter) = match filter {
        Some(filter) => {
            let (machines, rest) = plan::choose(plan::machines(), filter);
            (machines, Some(rest))
        }
        None => (plan::machines(), None),
    };
    let disk = disk::Disk::new(&machines, filter.as_deref(), &programs)?;
    let mut report = report::Report::new(&machines, filter.is_some());
    let numbers: Vec<_> = machines.iter().map(|(number, _)| *number).collect();
    let ends = qemu::boot(disk, &numbers, |said| match said {
        Some((number, line)) => report.line(number, line),
        None => report.silence(),
    })?;
    Ok(report.close(&ends))
}
