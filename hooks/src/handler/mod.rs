//! handler.
pub mod net;
