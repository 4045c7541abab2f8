//! The parent's side: what it knows of a container, the plan it makes for a process, and how it follows the two
//! processes that carry the plan out.

pub mod build;
pub mod children;
pub mod container;
pub mod inherited;
pub mod launch;
pub mod mappings;
pub mod message;
pub mod places;
pub mod process;
pub mod room;
pub mod spawn;
pub mod traced;
pub mod view;
