//! What the shims of a node have done, counted: the numbers behind `podhook metrics`.
//!
//! A shim counts in memory and answers a request for the numbers; when it ends it leaves its numbers in the node's
//! [`ledger`], because a hook before the end of a pod is counted in a process that is gone a moment
//! later.

pub mod ledger;
mod model;

pub use model::{Counters, FallbackReason, Hooks, How};
