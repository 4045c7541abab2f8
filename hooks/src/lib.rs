//! Kubernetes container lifecycle hooks at the runtime.
//!
//! The way of a hook: an annotation becomes a [`lifecycle::Lifecycle`]; the [`sequence`] decides what
//! happens when; a [`handler`] does it, exec handlers through the [`exec`] engine; the [`record`] tells
//! the user. Nothing here knows containerd's RPCs.
//!
//! # Unsafe code
//!
//! Denied but for the modules that are marked with `#[allow(unsafe_code)]` where they are declared: in [`exec`], what
//! forks and what runs between fork and execve (all of `child` that touches the plan's pointers, `plan::arena`,
//! `plan::report`, `plan::sys`, and of `parent` host, inherited, launch, mappings, pack, spawn, stdio), and the numbers of
//! the C library in `settings::rlimit` and `settings::schedule`; `handler::ordered` and `handler::pipes`, which watch
//! descriptors; [`linux::mount`], [`linux::pidfd`] and [`linux::watch`] for calls that rustix does not have;
//! [`null_device`].

#![cfg_attr(not(test), deny(unsafe_code))]
// What panics where the kernel refuses something: see clippy.toml. Shims do this.
#![cfg_attr(
    not(any(test, feature = "fuzzing")),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::print_stderr,
        clippy::print_stdout
    )
)]
// Nothing that comes from outside may end it by a panic: what is out of a range or too large is decided where it is met.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod build;
pub mod config;
pub mod config_json;
pub mod counters;
pub mod deadline;
pub mod exec;
pub mod forks;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod handler;
pub mod journal;
pub mod lifecycle;
pub mod linux;
pub mod moment;
pub mod named;
#[allow(unsafe_code)]
pub mod null_device;
pub mod record;
pub mod sequence;
pub mod signal;
pub mod similar;
pub mod task;
pub mod trace;
