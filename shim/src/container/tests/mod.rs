//! The stories of a container, on fakes: without root, containerd, an OCI runtime or real time.
//! `fuzz/` has the same fakes, with requests that no story has.

mod fake_events;
mod fake_runtime;
mod fake_system;
mod fakes;
pub mod world;

#[cfg(test)]
mod create_and_start;
#[cfg(test)]
mod delete;
#[cfg(test)]
mod execs;
#[cfg(test)]
mod exits;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod pause;
#[cfg(test)]
mod post_start;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod runtime;
