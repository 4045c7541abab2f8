//! The node's configuration, and the runtime options that come as TOML.

mod error;
mod node;
mod options;

pub use error::ConfigError;
pub use node::{Config, DEFAULT_PATH, ExecEngine};
pub use options::RuntimeOptions;
