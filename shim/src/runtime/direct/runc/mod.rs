//! runc's calls, on its `state.json` and `exec.fifo`.

mod delete;
mod start;
mod state;
#[cfg(test)]
mod tests;

pub use delete::remove;
pub use start::{Waiting, open};
