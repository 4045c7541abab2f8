//! `<bundle>/podhook.json`: what users see of a container's hooks and its end.

mod action;
mod error;
mod file;
mod model;
mod output;
mod timestamp;
mod view;

pub use action::{Action, HeaderName};
pub use error::RecordError;
pub use file::FILE_NAME;
pub use model::{HookRecord, HookResult, Record, TerminationRecord, VERSION};
pub use output::{MAX_OUTPUT_BYTES, tail};
pub use timestamp::Timestamp;
