//! A node that is given podhook, and asked how it is: what install, uninstall and doctor share.
//!
//! From the top down: [`configure`] says what is to change for a [`place`]; [`state`] makes the changes and remembers
//! them; [`containerd`] and [`docker`] know the files; everything goes through a [`root`].

pub mod change;
pub mod configure;
pub mod containerd;
pub mod docker;
pub mod error;
pub mod place;
pub mod programs;
pub mod restart;
pub mod root;
pub mod shims;
pub mod state;
pub mod units;
pub mod version;

pub use error::Error;
