//! From the words of the OCI specification to the kernel's numbers.

pub mod capabilities;
pub mod namespaces;
pub mod rlimit;
pub mod schedule;
pub mod spec;
