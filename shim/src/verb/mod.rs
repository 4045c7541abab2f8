//! What the binary is called for: `start`, `delete`, `-info`, and to serve.

pub mod delete;
pub mod info;
pub mod serve;
pub mod start;
