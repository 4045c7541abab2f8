//! The shim that serves: the task RPCs, the containers they name, and its end.

pub mod end;
mod sandbox;
pub mod service;
pub mod shim;
