//! What the binary is called for: `start`, `delete`, `-info`, and to serve.

pub mod delete;
pub mod info;
mod lost;
pub mod members;
#[allow(unsafe_code)]
pub mod serve;
#[allow(unsafe_code)]
pub mod start;
