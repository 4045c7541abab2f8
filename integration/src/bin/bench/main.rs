//! `make bench`: podhook beside containerd-shim-runc-v2 of the same containerd and the Rust shim that containerd's project publishes,
//! interleaved on one private containerd. Numbers and ratios are reported, never asserted; docs/benchmarks.md says how to read them.
//!
//! usage: bench [--part NAME]... [--rounds N] [--long] [--write] [PLACE]...     (default: every part on 1.6, 2.3, 2.4 and 2.4+crun)
//!        bench report                                                         the documents from docs/evidence/bench.json alone
//!        bench check [--write]                                                what the shim takes, beside integration/bench/check.json
//!
//! `--write` puts what was measured into docs/evidence/bench.json, in the place of what was there of the same parts and places, and
//! writes docs/evidence/bench.md, docs/pictures/bench-*.svg and the goals in docs/benchmarks.md.

mod answers;
mod arguments;
mod check;
mod client;
mod cold;
mod cpu;
mod ctr_run;
mod direct;
mod floor;
mod hooks;
mod hot;
mod kubelet;
mod logger;
mod machine;
mod measuring;
mod memory;
mod output;
mod part;
mod phases;
mod pods;
mod probes;
mod queue;
mod report;
mod rounds;
mod row;
mod run_dir;
mod samples;
mod saturation;
mod sheet;
mod shims;
mod spot;
mod stage;
mod verbs;
mod ways;
mod worker;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{env, thread};

use podhook_integration::containerd::scrub;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use arguments::Arguments;
use report::Report;
use sheet::Sheet;
use spot::Spot;
use stage::Stage;

/// What a part of the bench gives; errors end it with their message.
pub type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// For the clean-up after an interrupt.
static STAGE: Mutex<Option<Arc<Stage>>> = Mutex::new(None);

/// What fails from then on does so because everything is being removed.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["worker", id, pid, config] => worker::serve(id, pid, config),
        ["logger", dir] => logger::serve(dir),
        ["check"] => interruptible(|| check::check(false)),
        ["check", "--write"] => interruptible(|| check::check(true)),
        ["report"] => Report::load().and_then(|report| report.write()),
        _ => Arguments::parse(&words)
            .map_err(Into::into)
            .and_then(|arguments| interruptible(move || all(&arguments))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nbench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures; what it has made is removed at the end, whatever the end is.
fn interruptible(work: impl FnOnce() -> Fallible<()> + Send + 'static) -> Fallible<()> {
    scrub::stale();
    // Before there is a thread.
    run_dir::own_mounts()?;
    run_dir::in_memory()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (done, ended) = oneshot::channel();
        // It blocks; this thread waits for its end or for the user's.
        thread::spawn(move || done.send(work()));
        tokio::select! {
            outcome = ended => outcome.unwrap_or_else(|_| Err("it panicked".into())),
            _ = interrupt.recv() => Err("interrupted".into()),
            _ = terminate.recv() => Err("interrupted".into()),
        }
    });
    INTERRUPTED.store(true, Ordering::Relaxed);
    if let Some(stage) = current().take() {
        stage.close();
    }
    outcome
}

fn current() -> MutexGuard<'static, Option<Arc<Stage>>> {
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn all(arguments: &Arguments) -> Fallible<()> {
    let begun = Instant::now();
    let mut report = match arguments.write {
        true => Report::load()?,
        false => Report::default(),
    };
    report.machine = machine::lines();
    let sizes = arguments.sizes;
    report.machine.push(format!(
        "{} rounds{}, load average before: {}",
        sizes.rounds,
        if sizes.long { " (LONG=1)" } else { "" },
        machine::load()
    ));
    for line in &report.machine {
        println!("{line}");
    }
    for spot in &arguments.spots {
        at(*spot, arguments, &mut report)?;
    }
    println!(
        "\n{} minutes, load average after: {}",
        begun.elapsed().as_secs().div_ceil(60),
        machine::load()
    );
    report.print_goals();
    match arguments.write {
        true => report.write(),
        false => Ok(()),
    }
}

/// All parts at one place. What cannot be measured is said and left out.
fn at(spot: Spot, arguments: &Arguments, report: &mut Report) -> Fallible<()> {
    let mut opening = Sheet::new("all", &spot);
    println!("\n=== {spot}");
    let stage = match Stage::open(spot, &mut opening) {
        Ok(stage) => Arc::new(stage),
        Err(error) => {
            opening.missing("everything", &error);
            report.take(opening);
            return Ok(());
        }
    };
    report.take(opening);
    report.visited(spot.versions());
    *current() = Some(Arc::clone(&stage));
    for part in &arguments.parts {
        let begun = Instant::now();
        println!("\n--- {spot}: {}", part.name());
        let mut sheet = Sheet::new(part.name(), &spot);
        let run = part.run(&stage, arguments.sizes, &mut sheet);
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        if let Err(error) = run {
            sheet.missing("the rest of it", &error);
        }
        println!("  ({} s)", begun.elapsed().as_secs());
        report.take(sheet);
        if arguments.write {
            report.save()?;
        }
    }
    *current() = None;
    stage.close();
    Ok(())
}
