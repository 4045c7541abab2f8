//! Who runs rounds one after the other, on a containerd that nobody else has.

use std::fmt;
use std::sync::Arc;

use podhook_integration::chaos::HeldRuntime;
use podhook_integration::chaos::refusal::round::{self, Keeper, Seen};
use podhook_integration::chaos::refusal::{Operation, Refusal, Wrapper};
use podhook_integration::{Containerd, Node, Place};

use crate::Error;

/// One round to be run.
#[derive(Debug, Clone)]
pub struct Job {
    pub operation: Operation,
    pub refusal: Option<Refusal>,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.refusal {
            Some(refusal) => write!(f, "{}/{refusal}", self.operation),
            None => write!(f, "{}", self.operation),
        }
    }
}

pub struct Worker {
    node: Node,
    runtime: HeldRuntime,
    wrapper: Wrapper,
}

impl Worker {
    pub fn start(place: Place) -> Result<Self, Error> {
        let containerd = Arc::new(Containerd::start_at(place)?);
        let runtime = HeldRuntime::install(&containerd)?;
        let wrapper = Wrapper::install(&containerd)?;
        Ok(Self {
            node: Node::new(containerd, place.shim),
            runtime,
            wrapper,
        })
    }

    pub fn keeper(&self) -> Result<Keeper<'_>, Error> {
        Keeper::start(&self.node)
    }

    pub fn run(&self, keeper: &Keeper<'_>, job: &Job) -> Result<Seen, Error> {
        let Self {
            node,
            runtime,
            wrapper,
        } = self;
        let refusal = job.refusal.as_ref();
        round::run(node, runtime, wrapper, keeper, job.operation, refusal)
    }

    pub fn log(&self) -> String {
        self.node.log()
    }
}
