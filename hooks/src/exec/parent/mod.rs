//! The parent's side: what it knows of a container, the plan it makes for a process, and how it follows the two
//! processes that carry the plan out.

pub mod build;
pub mod children;
pub mod container;
#[allow(unsafe_code)]
pub mod host;
#[allow(unsafe_code)]
pub mod inherited;
#[allow(unsafe_code)]
pub mod launch;
#[allow(unsafe_code)]
pub mod mappings;
pub mod message;
#[allow(unsafe_code)]
mod needed;
#[allow(unsafe_code)]
pub mod pack;
pub mod places;
pub mod process;
pub mod room;
#[allow(unsafe_code)]
pub mod spawn;
#[allow(unsafe_code)]
pub mod stdio;
pub mod traced;
pub mod view;
