//! `make bench` and `make bench-exec`: podhook beside containerd-shim-runc-v2 on one private containerd, in
//! one run. Numbers and ratios are printed, never asserted; docs/benchmarks.md says how to read them.
//!
//! `PODHOOK_GENERATION` chooses another containerd than the system's own (1.6); `PODHOOK_BENCH_ROUNDS`
//! and `PODHOOK_BENCH_HOOKS` change how much is measured.

mod answers;
mod cpu;
mod exec;
mod floor;
mod machine;
mod memory;
mod peer;
mod rounds;
mod run;
mod samples;
mod stage;
mod table;
mod tasks;
mod worker;

use std::process::ExitCode;
use std::sync::OnceLock;
use std::{env, thread};

use podhook_integration::Generation;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use stage::Stage;

/// What a part of the bench gives; errors end it with their message.
pub type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// For the clean-up after an interrupt.
static STAGE: OnceLock<Stage> = OnceLock::new();

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["worker", id, pid, config] => worker::serve(id, pid, config),
        ["exec"] => play(|stage| exec::run(stage, count("PODHOOK_BENCH_ROUNDS", 25)?)),
        [] => play(everything_else),
        _ => Err("usage: bench [exec]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nbench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn everything_else(stage: &Stage) -> Fallible<()> {
    let mut budgets = run::run(stage, count("PODHOOK_BENCH_ROUNDS", 25)?)?;
    budgets.extend(memory::run(stage)?);
    budgets.extend(answers::run(stage, count("PODHOOK_BENCH_HOOKS", 100)?)?);
    table::print_budgets(&budgets);
    Ok(())
}

fn count(variable: &str, default: usize) -> Fallible<usize> {
    match env::var(variable) {
        Ok(text) => text
            .parse()
            .map_err(|_| format!("{variable}: {text:?} is no number").into()),
        Err(_) => Ok(default),
    }
}

/// Runs `scene` on a stage that is removed at the end, whatever the end is.
fn play(scene: fn(&Stage) -> Fallible<()>) -> Fallible<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (done, ended) = oneshot::channel();
        // The scene blocks; this thread waits for its end or for the user's.
        thread::spawn(move || done.send(open(scene)));
        tokio::select! {
            outcome = ended => outcome.unwrap_or_else(|_| Err("it panicked".into())),
            _ = interrupt.recv() => Err("interrupted".into()),
            _ = terminate.recv() => Err("interrupted".into()),
        }
    });
    if let Some(stage) = STAGE.get() {
        stage.close();
    }
    outcome
}

fn open(scene: fn(&Stage) -> Fallible<()>) -> Fallible<()> {
    let wanted = env::var("PODHOOK_GENERATION").unwrap_or_else(|_| "1.6".to_owned());
    let generation =
        Generation::named(&wanted).ok_or("PODHOOK_GENERATION: 1.6, 1.7, 2, 2.3 or 2.4")?;
    let stage = Stage::open(generation)?;
    let stage = STAGE.get_or_init(|| stage);
    machine::print(stage.containerd());
    scene(stage)?;
    println!();
    machine::print_load("after");
    Ok(())
}
