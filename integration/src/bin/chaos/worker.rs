//! Who runs rounds one after the other, on a containerd that nobody else has.

use std::sync::Arc;

use podhook_integration::chaos::{HeldRuntime, Seed, pods, round};
use podhook_integration::{Containerd, Node, Place};

use crate::Error;
use crate::part::Part;

/// One round to be run.
#[derive(Debug, Clone)]
pub struct Job {
    pub part: Part,
    pub seed: u64,
}

/// What became of one.
#[derive(Debug)]
pub enum Seen {
    Container(round::Seen),
    Pod(pods::Seen),
}

impl Seen {
    pub fn is_good(&self, part: Part) -> bool {
        match (self, part) {
            (Self::Container(seen), Part::Container(phase, victim)) => seen.is_good(phase, victim),
            (Self::Pod(seen), _) => seen.is_good(),
            _ => false,
        }
    }

    pub fn summary(&self) -> String {
        match self {
            Self::Container(seen) => seen.summary(),
            Self::Pod(seen) => seen.summary(),
        }
    }
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
        let mut seed = Seed::of(job.seed, &format!("{} {}", self.place, job.part));
        let outcome = match job.part {
            Part::Container(phase, victim) => {
                round::run(&node, &runtime, phase, victim, &mut seed).map(Seen::Container)
            }
            Part::Pod(phase, victim) => pods::round(&node, phase, victim, &mut seed).map(Seen::Pod),
        };
        // One on which something went wrong is not used again.
        let good = outcome.as_ref().is_ok_and(|seen| seen.is_good(job.part));
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
