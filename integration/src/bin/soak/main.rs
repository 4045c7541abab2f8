//! `make soak`: containers that are created, started with hooks, exec'd, probed, stopped and deleted, many at once and as fast as the
//! machine can, and one pod that lives all the while, is probed each second, and runs thousands of execs. Fails where a status or an output is
//! wrong or lost, and where anything grows.
//!
//! usage: soak [--minutes N] [--parallel N] [--write] [PLACE]...     (default: 30 minutes each on 2.4/podhook and 2.4/runc)
//!
//! `--write` writes docs/evidence/soak.md and docs/pictures/soak.svg.

mod arguments;
mod cycle;
mod growth;
mod pod;
mod report;
mod run;
mod watch;

use std::env;
use std::process::ExitCode;

use podhook_integration::containerd::scrub;

use arguments::Arguments;
use run::Run;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let arguments = match Arguments::parse(&words) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match all(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn all(arguments: &Arguments) -> Result<bool, Error> {
    scrub::stale();
    let mut runs = Vec::new();
    for place in &arguments.places {
        println!("=== {place}, {} minutes", arguments.minutes);
        let run = Run::of(*place, arguments)?;
        print!("{}", report::lines(&run));
        runs.push(run);
    }
    if arguments.write {
        report::write(&runs, arguments)?;
    }
    // What the original does wrong is shown, not judged.
    let judged: Vec<_> = runs
        .iter()
        .filter(|run| run.place.shim.is_podhook())
        .collect();
    let wrong: Vec<_> = judged.iter().flat_map(|run| run.wrong()).collect();
    for line in &wrong {
        println!("WRONG: {line}");
    }
    if wrong.is_empty() && !judged.is_empty() {
        println!("podhook: every answer was right, nothing is left, nothing has grown");
    }
    Ok(wrong.is_empty())
}
