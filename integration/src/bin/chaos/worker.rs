//! Who runs rounds one after the other, on a containerd that nobody else has.

use std::sync::Arc;

use podhook_integration::chaos::round::{self, Seen};
use podhook_integration::chaos::{HeldRuntime, Phase, Seed, Victim};
use podhook_integration::{Containerd, Node, Place};

use crate::Error;

/// One round to be run.
#[derive(Debug, Clone)]
pub struct Job {
    pub pair: (Phase, Victim),
    pub seed: u64,
}

/// A containerd, from the first job on.
pub struct Worker {
    place: Place,
    stage: Option<(Node, HeldRuntime)>,
}

impl Worker {
    pub fn new(place: Place) -> Self {
        Self { place, stage: None }
    }

    pub fn run(&mut self, job: &Job) -> Result<Seen, Error> {
        let (node, runtime) = match self.stage.take() {
            Some(stage) => stage,
            None => start(self.place)?,
        };
        let (phase, victim) = job.pair;
        let mut seed = Seed::of(job.seed, &format!("{} {phase}/{victim}", self.place));
        let outcome = round::run(&node, &runtime, phase, victim, &mut seed);
        // One on which something went wrong is not used again.
        let good = outcome
            .as_ref()
            .is_ok_and(|seen| seen.is_good(phase, victim));
        if good {
            self.stage = Some((node, runtime));
            return outcome;
        }
        if self.place.shim.is_podhook() {
            eprintln!("{}", node.log());
        }
        outcome
    }

    /// Looks whether anything is left of all rounds together.
    pub fn close(self) -> Result<(), Error> {
        let Some((node, _)) = self.stage else {
            return Ok(());
        };
        if self.place.shim.is_podhook() {
            node.containerd().close()?;
        }
        Ok(())
    }
}

fn start(place: Place) -> Result<(Node, HeldRuntime), Error> {
    let containerd = Arc::new(Containerd::start_at(place)?);
    let runtime = HeldRuntime::install(&containerd)?;
    Ok((Node::new(containerd, place.shim), runtime))
}
