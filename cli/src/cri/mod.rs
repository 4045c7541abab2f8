//! The connection to a containerd: its CRI services, and the one call outside CRI that stopping a
//! container needs while its postStart hook runs.

mod client;
pub mod exec;
mod handlers;
mod spdy;
mod tasks;
mod tls;

pub use client::{Client, Error};
pub(crate) use handlers::path_match;
pub use handlers::{Handlers, RuntimeHandler, SANDBOXER, Status};
pub use k8s_cri::v1;
