//! The `podhook` command as a library.
//!
//! `podhook` runs Pod manifests on a containerd through CRI, with no kubelet. From the top down, and no
//! import runs back up: [`cmd`] has one module per command; [`pods`] and [`node`] are what commands share; [`doctor`] looks at a
//! node; [`setup`] gives a node podhook; [`manifest`] reads and translates manifests, [`cri`] talks to containerd, [`cluster`] to Kubernetes, [`store`] keeps podhook's own
//! files; [`output`] prints.

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

/// As std's, but that nobody reads stderr any more ends nothing: `2>&1 | head` is no fault.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub mod args;
pub mod clock;
pub mod cluster;
pub mod cmd;
pub mod cri;
pub mod doctor;
pub mod manifest;
pub mod node;
pub mod output;
pub mod pods;
pub mod setup;
pub mod store;

pub use cmd::run;
