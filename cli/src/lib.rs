//! The `podhook` command as a library.
//!
//! `podhook` runs Pod manifests on a containerd through CRI, with no kubelet. From the top down, and no
//! import runs back up: [`cmd`] has one module per command; [`pods`] and [`node`] are what commands share;
//! [`manifest`] reads and translates manifests, [`cri`] talks to containerd, [`store`] keeps podhook's own
//! files; [`output`] prints.

pub mod args;
pub mod clock;
pub mod cmd;
pub mod cri;
pub mod manifest;
pub mod node;
pub mod output;
pub mod pods;
pub mod store;

pub use cmd::run;
