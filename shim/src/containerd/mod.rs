//! What containerd prescribes: how a shim is started, asked, heard and told to log.

pub mod bootstrap;
pub mod clients;
pub mod events;
pub mod grpc;
pub mod log;
pub mod message_type;
pub mod options;
pub mod outstanding;
pub mod socket;
pub mod stop_signal;
pub mod timestamp;
pub mod version;
