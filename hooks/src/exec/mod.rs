//! The exec engine: runs a process inside a container as `runc exec` does, without runc.
//!
//! Three processes take part. The **parent** is the shim: it opens a [`Container`] once, and for every
//! [`Process`] it resolves and allocates all that is needed, as a plan. The **joiner** is its first child: it
//! joins the container from outside and takes on user, restrictions and limits. The **command** is the second
//! child, the one that the container sees: it looks the program up and executes it. The parent's reaper owns
//! `wait` through [`Children`].
//!
//! Each folder is a phase, and imports run one way only:
//!
//! ```text
//! parent ──▶ settings, seccomp, tree ──▶ plan ◀── child
//!    └──────────────────────────────────▶──────────▲ one function: child::run
//! ```
//!
//! `settings` and `seccomp` turn the words of the specification into numbers, `tree` finds cgroups and ends what
//! a process has started, `plan` is the plain data that `child` reads, and `child` is all the code that runs
//! between fork and execve.

mod child;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod parent;
mod plan;
mod seccomp;
mod settings;
mod tree;

pub use error::Error;
pub use parent::children::{Children, Exit};
pub use parent::container::Container;
pub use parent::process::Process;
pub use parent::spawn::{Child, spawn, spawn_on_terminal};
pub use parent::stdio::Stdio;
pub use parent::traced::exit as exit_though_traced;
pub use plan::report::Step;
pub use settings::spec;
pub use tree::Tree;
pub use tree::session::{session_of, signal_session};
