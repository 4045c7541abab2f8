//! What drives a shim's binary without containerd: the bundle that it is started in, and somebody who takes its events.

pub mod bundle;
pub mod connection;
pub mod daemon;
pub mod reply;

use std::sync::OnceLock;

use tokio::runtime::Runtime;

/// Where the clients and the events' server run.
///
/// # Panics
/// Where the machine refuses it its threads.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}
