//! `make demo`: the three lifecycle pods of the Kubernetes tutorial on a private containerd, through podhook.
//!
//! `PODHOOK_GENERATION` chooses another containerd than the system's own (1.6): 1.7 or 2, once
//! `integration/containerd-generations` has fetched it.

mod message;
mod observer;
mod scenes;
mod stage;
mod timeline;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::{env, thread};

use podhook_integration::{Containerd, Generation, Outcome, ShimKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use stage::Stage;

/// The containerd, for the clean-up after an interrupt.
static CONTAINERD: OnceLock<Arc<Containerd>> = OnceLock::new();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        eprintln!("demo FAILED: cannot handle signals");
        return ExitCode::FAILURE;
    };
    let (done, ended) = oneshot::channel();
    // The scenes block; this thread waits for their end or for the user's.
    thread::spawn(move || done.send(play()));
    let outcome = tokio::select! {
        outcome = ended => outcome.unwrap_or_else(|_| Err("it panicked".into())),
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("interrupted".into()),
    };
    if let Some(containerd) = CONTAINERD.get() {
        if outcome.is_err() {
            eprint!("{}", containerd.log_end());
        }
        containerd.destroy();
    }
    message::remove();
    match outcome {
        Ok(()) => {
            println!(
                "Everything is cleaned up: no process, mount, cgroup, bridge or file of the demo is left."
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\ndemo FAILED: {error}\nEverything is cleaned up.");
            ExitCode::FAILURE
        }
    }
}

fn play() -> Outcome {
    message::refuse_to_overwrite()?;
    let wanted = env::var("PODHOOK_GENERATION").unwrap_or_else(|_| "1.6".to_owned());
    let generation =
        Generation::named(&wanted).ok_or("PODHOOK_GENERATION: 1.6, 1.7, 2, 2.3 or 2.4")?;
    let containerd = Arc::new(Containerd::start(generation, ShimKind::Podhook)?);
    let containerd = CONTAINERD.get_or_init(|| containerd);
    let mut stage = Stage::new(Arc::clone(containerd))?;
    scenes::open(&stage);
    scenes::post_start(&mut stage)?;
    scenes::slow_post_start(&mut stage)?;
    scenes::pre_stop(&mut stage)?;
    scenes::pre_stop_on_the_node(&mut stage)?;
    scenes::ctr(&mut stage)?;
    stage.finish()
}
