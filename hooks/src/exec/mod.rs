//! The exec engine: runs a process inside a container as `runc exec` does, without runc.

pub mod children;
pub use children::{Children, Exit};
