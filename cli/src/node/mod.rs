//! A node: its containers' bundles and the records of their hooks, its shims and their counters.
//!
//! What ps, history, inspect, describe and metrics share.

pub mod bundles;
pub(crate) mod changes;
pub mod journal;
pub mod machine;
pub mod metrics;
pub(crate) mod page;
pub mod query;
pub mod record;
pub(crate) mod row;
pub mod shims;
pub mod state;
