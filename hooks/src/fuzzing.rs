//! What is read from outside and has no public way in, for the programs of `fuzz/`.

pub use crate::exec::fuzzing::{passwd, process_json, spec_json};
pub use crate::handler::net::fuzzing::{names, redirect};
