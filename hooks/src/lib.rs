//! Kubernetes container lifecycle hooks at the runtime.
//!
//! The way of a hook: an annotation becomes a [`lifecycle::Lifecycle`]; the [`sequence`] decides what
//! happens when; a [`handler`] does it, exec handlers through the [`exec`] engine; the [`record`] tells
//! the user. Nothing here knows containerd's RPCs.

// What panics where the kernel refuses something: see clippy.toml. Shims do this.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::print_stderr,
        clippy::print_stdout
    )
)]

pub mod config;
pub mod counters;
pub mod exec;
pub mod handler;
pub mod lifecycle;
pub mod linux;
pub mod null_device;
pub mod record;
pub mod sequence;
pub mod signal;
