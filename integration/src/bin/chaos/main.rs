//! `make chaos`: SIGKILL of every part at every phase of a container's life. Fails where podhook has told a client what is not
//! true, has left something behind, or has run a hook twice.
//!
//! usage: chaos [--short] [--write] [--seed N] [--rounds N] [--only PHASE/VICTIM]... [PLACE]...
//!
//! `--short` takes one victim of each phase, by the seed. `--write` writes the table of docs/evidence/chaos.md.

mod arguments;
mod part;
mod table;
mod worker;

use std::env;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use podhook_integration::Place;
use podhook_integration::again::once_more;
use podhook_integration::chaos::{Seed, Victim};
use podhook_integration::containerd::scrub;
use podhook_integration::slow::watched;

use arguments::Arguments;
use part::Part;
use table::Table;
use worker::{Job, Seen, Worker};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// More than the cores of a small machine: a round mostly waits.
const WORKERS: usize = 3;

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
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well with podhook.
fn all(arguments: &Arguments) -> Result<bool, Error> {
    println!("seed {}", arguments.seed);
    scrub::stale();
    let mut table = Table::default();
    let mut bad = Vec::new();
    for place in &arguments.places {
        let jobs = jobs(*place, arguments);
        println!("=== {place}: {} rounds", jobs.len());
        bad.extend(at(*place, jobs, &mut table)?);
    }
    if arguments.write {
        table.write(arguments)?;
    }
    println!(
        "seed {}: {} rounds that went wrong",
        arguments.seed,
        bad.len()
    );
    for line in &bad {
        println!("{line}");
    }
    Ok(bad.is_empty())
}

/// The rounds at a place, in the order of the seed.
fn jobs(place: Place, arguments: &Arguments) -> Vec<Job> {
    let mut jobs = Vec::new();
    for round in 0..arguments.rounds {
        let seed = arguments.seed + round;
        let mut order = Seed::of(seed, &place.to_string());
        let mut parts = Part::all(place);
        order.shuffle(&mut parts);
        if arguments.short {
            parts = one_of_each_phase(parts);
        }
        parts.retain(|part| arguments.wants(*part));
        jobs.extend(parts.into_iter().map(|part| Job { part, seed }));
    }
    jobs
}

/// With every victim if there are phases enough for that.
fn one_of_each_phase(parts: Vec<Part>) -> Vec<Part> {
    let mut chosen: Vec<Part> = Vec::new();
    // The rarest first: they die at few phases.
    for victim in [
        Victim::Joiner,
        Victim::Command,
        Victim::Runtime,
        Victim::Reader,
        Victim::Init,
        Victim::Containerd,
        Victim::Shim,
    ] {
        let wanted = match victim {
            Victim::Containerd | Victim::Shim => 3,
            _ => 1,
        };
        let new = parts.iter().filter(|part| {
            matches!(part, Part::Container(_, own) if *own == victim) && is_new(&chosen, part)
        });
        let new: Vec<_> = new.take(wanted).copied().collect();
        chosen.extend(new);
    }
    for part in parts {
        if is_new(&chosen, &part) {
            chosen.push(part);
        }
    }
    chosen
}

/// Whether none is of its phase.
fn is_new(chosen: &[Part], part: &Part) -> bool {
    chosen.iter().all(|other| other.phase() != part.phase())
}

/// Runs the rounds; gives what went wrong, with the command that makes it again.
fn at(place: Place, jobs: Vec<Job>, table: &mut Table) -> Result<Vec<String>, Error> {
    let queue = Mutex::new(jobs);
    let done = Mutex::new((Vec::new(), table));
    let next = || queue.lock().ok()?.pop();
    thread::scope(|scope| {
        let work = || {
            let mut worker = Worker::new(place);
            while let Some(job) = next() {
                let name = format!("{place} {}", job.part);
                let run = || watched(&name, || worker.run(&job));
                let wrong = |outcome: &_| wrong(place, &job, outcome);
                let outcome = once_more(&name, run, wrong);
                let text = summary(&outcome);
                let wrong = wrong(&outcome);
                let good = wrong.is_none();
                println!("{name}: {text}{}", if good { "" } else { " FAILED" });
                let mut done = done.lock().map_err(|_| "a worker panicked")?;
                done.1.add(place, job.part, text);
                done.0.extend(wrong);
            }
            worker.close()
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok::<_, Error>(())
    })?;
    let done = done.into_inner().map_err(|_| "a worker panicked")?;
    Ok(done.0)
}

fn summary(outcome: &Result<Seen, Error>) -> String {
    match outcome {
        Ok(seen) => seen.summary(),
        Err(error) => format!("**no result: {error}**"),
    }
}

/// What went wrong in a round of podhook, if something did, with the command that makes it again.
fn wrong(place: Place, job: &Job, outcome: &Result<Seen, Error>) -> Option<String> {
    let part = job.part;
    let good = outcome.as_ref().is_ok_and(|seen| seen.is_good(part));
    (place.shim.is_podhook() && !good).then(|| {
        format!(
            "{part}: {}\n{outcome:#?}\n    make chaos SEED={} PLACES={place} ONLY={part}",
            summary(outcome),
            job.seed
        )
    })
}
