//! The node's configuration, and the strict reader of TOML that it is read with.

mod error;
mod glob;
mod key;
mod keys;
mod node;
mod read;
mod rules;
mod table;
#[cfg(test)]
mod tests;

pub use crate::lifecycle::reader::{At, Fields};
pub use error::ConfigError;
pub use keys::{
    ExecEngine, HookKeys, JournalKeys, JournalPlace, LifecycleKeys, LogKeys, OciKeys, PolicyKeys,
    RuntimeCalls, SequenceKeys,
};
pub use node::{Config, DEFAULT_PATH};
pub use read::read;
pub use rules::Rule;
pub use table::table;
