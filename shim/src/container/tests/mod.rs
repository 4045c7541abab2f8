//! The stories of a container, on fakes: without root, containerd, an OCI runtime or real time.

mod fake_events;
mod fake_runtime;
mod fake_system;
mod fakes;
mod world;

mod create_and_start;
mod delete;
mod execs;
mod exits;
mod kill;
mod orders;
mod pause;
mod post_start;
mod restore;
mod runtime;
