//! Containers that want the host: one test for each lesson that others paid for.
//!
//! docs/security.md has the list. A test shows that the attack got as far as it could, and no further.

mod files;
mod joining;
mod procfs;
mod rights;
#[path = "../support/mod.rs"]
mod support;
