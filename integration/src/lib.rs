//! A real containerd for tests and demos: private root, state, socket and network, several
//! generations, with the original shim and with podhook, and a check that nothing is left behind.
//!
//! A behaviour test is a function over a [`Node`]; [`suite`] runs it on every containerd generation
//! and with every shim it is meant for. A test of something containerd-shim-runc-v2 does too runs on
//! that shim as well: a test that the original fails is wrong.

pub mod again;
pub mod apparmor;
pub mod attached;
pub mod book;
pub mod chaos;
pub mod command;
pub mod containerd;
pub mod cri;
pub mod criu;
pub mod ctr;
#[cfg(test)]
mod documented;
pub mod driver;
pub mod events;
pub mod execs;
pub mod generation;
pub mod handler;
pub mod hanging;
pub mod hierarchy;
#[cfg(test)]
mod house;
pub mod image;
pub mod kubernetes;
#[cfg(test)]
mod makefile;
pub mod node;
pub mod packages;
mod panics;
#[cfg(test)]
mod parts;
pub mod pattern;
pub mod place;
pub mod plot;
pub mod podhook;
pub mod progress;
pub mod protocol;
pub mod record;
pub mod registry;
pub mod results;
pub mod shim;
pub mod slow;
pub mod stream;
pub mod suite;
pub mod tasks;
pub mod trace;
pub mod wait;

pub use containerd::Containerd;
pub use generation::{Generation, OciRuntime};
pub use image::Image;
pub use node::Node;
pub use place::Place;
pub use shim::ShimKind;

/// What a test returns: any error fails it with its message.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;
