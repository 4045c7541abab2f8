//! `make refusal`: every system call of the shim that can fail is made to fail in turn. Fails where the shim does not go on, where a
//! client is told what is not true, where something is left, or where the next container does not live.
//!
//! usage: refusal [--short] [--write] [--seed N] [--depth N] [--only OPERATION[/CALL[:ERROR[:N]]]]... [PLACE]...
//!
//! `--short` takes a sample, by the seed. `--depth` says how many calls of a kind fail in an operation, from the first.
//! `--write` writes the table of docs/evidence/refusal.md.

mod arguments;
mod table;
mod worker;

use std::env;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use podhook_integration::Place;
use podhook_integration::chaos::Seed;
use podhook_integration::chaos::refusal::round::Seen;
use podhook_integration::chaos::refusal::{Counts, Operation, Refusal, errors};
use podhook_integration::containerd::scrub;
use podhook_integration::slow::watched;

use arguments::Arguments;
use table::Table;
use worker::{Job, Worker};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// More than the cores of a small machine: a round mostly waits.
const WORKERS: usize = 3;
/// The rounds of the short form.
const SAMPLE: usize = 30;

/// What once went wrong: always in it.
const ONCE_WRONG: [&str; 8] = [
    "delete-verb/clone3:EAGAIN:1",
    "delete-verb/connect:EINTR:2",
    "delete-verb/flock:EINTR:2",
    "delete-verb/flock:ENOMEM:2",
    "delete-verb/memfd_create:EMFILE:2",
    "delete-verb/socket:EMFILE:2",
    "delete-verb/wait4:EINTR:1",
    "kill/wait4:EINTR:1",
];

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
            eprintln!("refusal: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn all(arguments: &Arguments) -> Result<bool, Error> {
    println!("seed {}", arguments.seed);
    scrub::stale();
    let mut table = Table::default();
    let mut bad = Vec::new();
    for place in &arguments.places {
        let operations = Operation::ALL.into_iter();
        let wanted = operations.filter(|operation| arguments.wants(*operation));
        let count = |operation| Job {
            operation,
            refusal: None,
        };
        println!("=== {place}: what each operation calls");
        let (counts, wrong) = at(*place, wanted.map(count).collect())?;
        bad.extend(wrong);
        let jobs = jobs(arguments, &counts);
        println!("=== {place}: {} rounds", jobs.len());
        let (seen, wrong) = at(*place, jobs)?;
        for (job, seen) in &seen {
            table.add(job, seen);
        }
        bad.extend(wrong);
    }
    if arguments.write {
        table.write(arguments)?;
    }
    let lines: Vec<_> = table.unnamed().collect();
    if !lines.is_empty() {
        println!("errors without the kernel's words:");
        lines.iter().for_each(|line| println!("  {line}"));
    }
    println!(
        "seed {}: {} rounds, {} went wrong",
        arguments.seed,
        table.rounds(),
        bad.len()
    );
    bad.iter().for_each(|line| println!("{line}"));
    Ok(bad.is_empty())
}

/// The calls that fail, in the order of the seed.
fn jobs(arguments: &Arguments, counted: &[(Job, Seen)]) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (job, seen) in counted {
        let refusals = refusals(&seen.calls.counts, arguments.depth);
        let wanted = refusals
            .into_iter()
            .filter(|refusal| arguments.wants_refusal(job.operation, refusal));
        jobs.extend(wanted.map(|refusal| Job {
            operation: job.operation,
            refusal: Some(refusal),
        }));
    }
    Seed::of(arguments.seed, "refusal").shuffle(&mut jobs);
    if arguments.short {
        jobs.sort_by_key(|job| !ONCE_WRONG.contains(&job.to_string().as_str()));
        jobs.truncate(SAMPLE);
    }
    jobs
}

fn refusals(counts: &Counts, depth: usize) -> Vec<Refusal> {
    let mut all = Vec::new();
    for (call, count) in counts {
        for error in errors(call) {
            let first = 1..=depth.min(*count);
            let last = (*count > depth).then_some(*count);
            all.extend(first.chain(last).map(|nth| Refusal {
                call: call.clone(),
                error,
                nth,
            }));
        }
    }
    all
}

/// What was seen, and what went wrong.
type Outcome = (Vec<(Job, Seen)>, Vec<String>);

/// Runs the rounds; gives what was seen, and what went wrong with the command that makes it again.
fn at(place: Place, jobs: Vec<Job>) -> Result<Outcome, Error> {
    let queue = Mutex::new(jobs);
    let done = Mutex::new((Vec::new(), Vec::new()));
    let next = || queue.lock().ok()?.pop();
    thread::scope(|scope| {
        let work = || {
            let mut next_job = next();
            while next_job.is_some() {
                let worker = Worker::start(place)?;
                let keeper = worker.keeper()?;
                let (mut usable, mut is_good) = (true, true);
                while usable && let Some(job) = next_job {
                    let name = format!("{place} {job}");
                    let outcome = watched(&name, || worker.run(&keeper, &job));
                    is_good = outcome.as_ref().is_ok_and(Seen::is_good);
                    usable = is_good && keeper.lives();
                    let mut done = done.lock().map_err(|_| "a worker panicked")?;
                    match outcome {
                        Ok(seen) => {
                            if !seen.is_good() {
                                println!("{name}: FAILED: {:?}", seen.faults);
                                done.1.push(wrong(place, &job, &format!("{seen:#?}")));
                            }
                            done.0.push((job, seen));
                        }
                        Err(error) => {
                            println!("{name}: FAILED: {error}");
                            done.1.push(wrong(place, &job, &error.to_string()));
                        }
                    }
                    if done.0.len() % 50 == 0 {
                        println!("{} rounds", done.0.len());
                    }
                    next_job = next();
                }
                if !is_good {
                    eprintln!("{}", worker.log());
                }
            }
            Ok::<_, Error>(())
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok::<_, Error>(())
    })?;
    Ok(done.into_inner().map_err(|_| "a worker panicked")?)
}

fn wrong(place: Place, job: &Job, what: &str) -> String {
    format!("{job}: {what}\n    make refusal PLACES={place} ONLY={job}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_calls_fail_and_the_last() {
        let counts = Counts::from([("mmap".to_owned(), 9), ("getpid".to_owned(), 3)]);
        let nths: Vec<_> = refusals(&counts, 2).iter().map(|it| it.nth).collect();
        assert_eq!(nths, [1, 2, 9]);
        let all: Vec<_> = refusals(&counts, 20).iter().map(|it| it.nth).collect();
        assert_eq!(all, (1..=9).collect::<Vec<_>>());
    }
}
