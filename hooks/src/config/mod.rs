//! The node's configuration, and the runtime options that come as TOML.

mod error;
mod glob;
mod node;
mod options;
mod read;
mod rules;

pub use error::ConfigError;
pub use node::{Config, DEFAULT_PATH, ExecEngine};
pub use options::RuntimeOptions;
pub use rules::Rule;
