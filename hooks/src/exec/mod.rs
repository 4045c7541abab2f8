//! The exec engine: runs a process inside a container as `runc exec` does, without runc.
//!
//! The way of a process: a [`Container`] is opened once, a [`Process`] says what to run; a plan resolves
//! and allocates everything; an intermediate child joins the container from outside and takes on user,
//! restrictions and limits; the final child, the one that the container sees, becomes the command. The
//! caller owns `wait` through [`Children`].

mod arena;
mod bpf;
mod capabilities;
mod cgroup;
mod child;
pub mod children;
mod container;
mod enosys;
mod error;
mod home;
mod inherited;
mod intermediate;
mod labels;
mod last;
mod launch;
mod leaf;
mod mappings;
mod message;
mod namespaces;
mod places;
mod plan;
mod process;
mod report;
mod restrict;
mod rlimit;
mod room;
mod schedule;
mod seccomp;
mod session;
mod spawn;
pub mod spec;
mod sys;
mod terminal;
mod traced;
mod tree;
mod view;

pub use children::{Children, Exit};
pub use container::Container;
pub use error::Error;
pub use plan::Stdio;
pub use process::Process;
pub use report::Step;
pub use session::{session_of, signal_session};
pub use spawn::{Child, spawn, spawn_on_terminal};
pub use traced::exit as exit_though_traced;
pub use tree::Tree;
