//! All code that runs between fork and execve, in two processes. The **joiner** is forked by the parent, joins the
//! container from outside and takes on what the command may do. The **command** is made by the joiner: the container
//! sees it, and it executes the program.
//!
//! # The rule
//!
//! Between fork and execve there are only system calls on data that the plan holds. No allocation, no lock, no log, no
//! panic, no libc call with state: the child of a threaded process has copies of locks that no thread will ever
//! release, and the joiner unmaps the heap and its thread's variables before it makes the command. A failure is
//! written to the report pipe, then the process exits.
//!
//! The rule holds for this folder and for the functions that it uses of [`super::plan`], which is all that it may
//! import. `tests/child_rule.rs` reads these files and refuses what would break it; `tests/exec_allocation.rs` runs
//! them with an allocator that ends a child that calls it.

#[allow(unsafe_code)]
mod command;
pub(super) mod home;
#[allow(unsafe_code)]
mod joiner;
mod labels;
#[allow(unsafe_code)]
mod memory;
mod restrict;
mod terminal;
mod view;

pub(super) use joiner::run;
