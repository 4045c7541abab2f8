//! A node: its containers' bundles and the records of their hooks, its shims and their counters.
//!
//! What ps, inspect, describe and metrics share.

pub mod bundles;
pub mod machine;
pub mod metrics;
pub(crate) mod page;
pub mod query;
pub mod record;
pub mod shims;
pub mod state;
