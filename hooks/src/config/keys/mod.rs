//! The keys of the node's configuration, a file per topic. A topic is what reaches its use together.

mod allowed;
mod hooks;
mod journal;
mod lifecycles;
mod log;
mod oci;
mod sequence;

pub use allowed::PolicyKeys;
pub use hooks::{ExecEngine, HookKeys};
pub use journal::{JournalKeys, JournalPlace};
pub use lifecycles::LifecycleKeys;
pub use log::LogKeys;
pub use oci::{OciKeys, RuntimeCalls};
pub use sequence::SequenceKeys;
